//! The wasm module and its JS glue.

use crate::shell::{cargo, output, root, run, step, target_dir, which};
use anyhow::{Context, Result, anyhow, bail};
use std::path::{Path, PathBuf};
use wasm_bindgen_cli_support::Bindgen;

pub const TARGET: &str = "wasm32-unknown-unknown";
const CURE: &str = "The lines above say why; `rustup update stable` cures a compiler that is too old.";

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// Optimized for speed, link-time optimization over all crates: minutes.
    Release,
    /// Optimized a little, compiled again in seconds.
    Dev,
}

impl Profile {
    /// Cargo's name, and the folder that it writes to.
    const fn name(self) -> &'static str {
        match self {
            Self::Release => "release",
            Self::Dev => "wasm-dev",
        }
    }
}

/// Makes sure that rustc can compile to wasm32.
pub fn ensure_target() -> Result<()> {
    step("WebAssembly target");
    let sysroot = output(crate::shell::command("rustc").args(["--print", "sysroot"]))
        .context("rustc was not found: install Rust from https://rustup.rs, then run this again")?;
    if Path::new(&sysroot).join("lib/rustlib").join(TARGET).is_dir() {
        eprintln!("  {TARGET} is installed");
        return Ok(());
    }
    if which(&["rustup", "rustup.exe"]).is_none() {
        bail!(
            "rustc cannot compile to {TARGET} and there is no rustup: install your system's package for it, or rustup"
        );
    }
    run(
        crate::shell::command("rustup").args(["target", "add", TARGET]),
        "Check the network, then run `rustup target add wasm32-unknown-unknown`.",
    )
}

/// Compiles the library and writes www/pkg/.
pub fn build(profile: Profile) -> Result<()> {
    ensure_target()?;
    step(&format!("wasm, {} profile", profile.name()));
    run(
        cargo().args(["build", "--lib", "--no-default-features", "--target", TARGET]).args([
            "--config",
            "wasm-pack.toml",
            "--profile",
            profile.name(),
        ]),
        CURE,
    )?;
    let wasm = target_dir()?.join(TARGET).join(profile.name()).join("phiquant.wasm");
    let pkg = root().join("www/pkg");
    bindgen(&wasm, &pkg, "phiquant", profile == Profile::Dev, true)?;
    let bytes = std::fs::metadata(pkg.join("phiquant_bg.wasm"))?.len();
    eprintln!("  www/pkg/phiquant_bg.wasm: {:.0} kB", bytes as f64 / 1e3);
    Ok(())
}

/// Writes `name.js` and `name_bg.wasm` for a page's `import`.
pub fn bindgen(wasm: &Path, folder: &Path, name: &str, debug: bool, start: bool) -> Result<()> {
    let made = Bindgen::new()
        .input_path(wasm)
        .web(true)
        .and_then(|bindgen| {
            bindgen
                .out_name(name)
                .typescript(true)
                .keep_debug(debug)
                .remove_name_section(!debug)
                .omit_default_module_path(false)
                .emit_start(start)
                .generate(folder)
        })
        .map_err(|error| anyhow!("{error:#}"));
    made.with_context(|| format!("wasm-bindgen could not make JS glue for {}", wasm.display()))
}

/// The names of tests/wasm*.rs.
pub fn test_names() -> Result<Vec<String>> {
    let mut names: Vec<String> = std::fs::read_dir(root().join("tests"))?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter_map(|file| file.strip_suffix(".rs").filter(|stem| stem.starts_with("wasm")).map(str::to_owned))
        .collect();
    names.sort();
    if names.is_empty() {
        bail!("there is no tests/wasm*.rs: the checkout is not complete");
    }
    Ok(names)
}

/// Compiles tests/wasm*.rs for wasm32 and returns each module with its test's name.
pub fn test_modules() -> Result<Vec<(String, PathBuf)>> {
    let names = test_names()?;
    let mut build = cargo();
    build.args(["test", "--no-run", "--no-default-features", "--target", TARGET, "--config", "wasm-pack.toml"]);
    build.args(["--message-format", "json-render-diagnostics"]);
    for name in &names {
        build.args(["--test", name]);
    }
    eprintln!("  $ cargo test --no-run --target {TARGET} --test {}", names.join(" --test "));
    let output = build.stderr(std::process::Stdio::inherit()).output().context("cargo could not be started")?;
    if !output.status.success() {
        bail!("the wasm tests do not compile. {CURE}");
    }
    let mut modules = Vec::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let Ok(message) = serde_json::from_str::<serde_json::Value>(line) else { continue };
        let name = message["target"]["name"].as_str().unwrap_or_default();
        if let (true, Some(file)) = (names.iter().any(|test| test == name), message["executable"].as_str()) {
            modules.push((name.to_owned(), file.into()));
        }
    }
    if modules.len() != names.len() {
        bail!("cargo built {} of {} wasm tests; run `cargo clean` and try again", modules.len(), names.len());
    }
    Ok(modules)
}
