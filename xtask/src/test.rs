//! `cargo xtask test`: installs what the tests need, runs everything, stops at the first failure.

use crate::shell::{cargo, command, output, root, run, run_counting, step, target_dir};
use crate::{chrome, npm, wasm};
use anyhow::{Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

#[derive(clap::Args)]
pub struct Options {
    /// Also compare with the tools that users would pick instead; needs PHIQUANT_PYTHON, see CONTRIBUTING.md.
    #[arg(long)]
    peers: bool,
    /// Run this step alone (`--only list` names them).
    #[arg(long, value_name = "STEP")]
    only: Option<String>,
}

/// Tests that ran and those that were left out.
#[derive(Clone, Copy, Default)]
pub struct Count {
    pub passed: u64,
    pub ignored: u64,
}

type Step = (&'static str, &'static str, fn() -> Result<Count>);

/// Cheap ones first, so that a slip is told soon.
const STEPS: &[Step] = &[
    ("rustfmt", "Rust is formatted", rustfmt),
    ("biome", "JavaScript is formatted and free of lint", biome),
    ("types", "index.d.ts allows the uses it should, and no others", types),
    ("clippy", "Rust is free of lint, native and wasm", clippy),
    ("native", "native tests, GPU ones on a software Vulkan driver", native),
    ("build", "what the page needs", build),
    ("wasm", "the core in wasm, in headless Chromium", wasm_tests),
    ("browser", "the module and the page, in headless Chromium", browser),
];

pub fn run_steps(options: &Options) -> Result<()> {
    let mut steps = STEPS.to_vec();
    if options.peers {
        steps.push(("peers", "the tools that users would pick instead", peers));
    }
    if let Some(only) = &options.only {
        steps.retain(|(name, ..)| name == only);
        if steps.is_empty() {
            let names: Vec<_> = STEPS.iter().map(|(name, ..)| *name).chain(["peers (with --peers)"]).collect();
            bail!("there is no step {only:?}; the steps are {}", names.join(", "));
        }
    }
    let begin = Instant::now();
    let mut total = Count::default();
    let mut lines = Vec::new();
    for (name, what, step_of_tests) in steps {
        step(&format!("{name}: {what}"));
        let begin = Instant::now();
        let count = step_of_tests().inspect_err(|_| {
            eprintln!("\n{} passed, 1 failed (step {name}; `cargo xtask test --only {name}` repeats it)", total.passed);
        })?;
        total.passed += count.passed;
        total.ignored += count.ignored;
        lines.push(format!("  {name:8} {:4} passed {:5.0} s", count.passed, begin.elapsed().as_secs_f32()));
    }
    step(&format!("all steps, {:.0} s", begin.elapsed().as_secs_f32()));
    eprintln!("{}", lines.join("\n"));
    if total.ignored > 0 {
        eprintln!("  {} tests are marked as ignored and did not run", total.ignored);
    }
    println!("{} passed, 0 failed", total.passed);
    Ok(())
}

const ONE: Count = Count { passed: 1, ignored: 0 };

/// rustup's minimal profile has neither rustfmt nor clippy.
fn ensure_component(name: &str) -> Result<()> {
    if output(cargo().args([name, "--version"])).is_ok() {
        return Ok(());
    }
    let component = if name == "fmt" { "rustfmt" } else { name };
    run(
        command("rustup").args(["component", "add", component]),
        &format!("Install {component} with rustup, or your system's package for it."),
    )
}

fn rustfmt() -> Result<Count> {
    ensure_component("fmt")?;
    run(cargo().args(["fmt", "--all", "--check"]), "`cargo fmt --all` cures it.")?;
    Ok(ONE)
}

fn clippy() -> Result<Count> {
    const CURE: &str = "The lines above say what to change.";
    ensure_component("clippy")?;
    wasm::ensure_target()?;
    run(cargo().args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]), CURE)?;
    let mut on_wasm = cargo();
    on_wasm.args(["clippy", "--lib", "--no-default-features", "--target", wasm::TARGET, "--config", "wasm-pack.toml"]);
    for name in wasm::test_names()? {
        on_wasm.args(["--test", &name]);
    }
    run(on_wasm.args(["--", "-D", "warnings"]), CURE)?;
    Ok(Count { passed: 2, ignored: 0 })
}

fn native() -> Result<Count> {
    let chrome = chrome::ensure()?;
    let mut tests = cargo();
    tests.args(["test", "--workspace"]);
    if let Some(driver) = chrome::software_vulkan(&chrome)? {
        tests.env("VK_DRIVER_FILES", driver);
    }
    let count = run_counting(&mut tests, "The lines above name the test that failed.", rust_count)?;
    Ok(count)
}

fn build() -> Result<Count> {
    crate::build(false)?;
    Ok(ONE)
}

fn wasm_tests() -> Result<Count> {
    wasm::ensure_target()?;
    npm::install()?;
    let chrome = chrome::ensure()?;
    let folder = target_dir()?.join("wasm-tests");
    let modules = wasm::test_modules()?;
    for (name, module) in &modules {
        wasm::bindgen(module, &folder, name, true, false)?;
    }
    let mut tests = node(&chrome);
    tests.arg("xtask/wasm-tests.js").arg(folder).args(modules.iter().map(|(name, _)| name));
    run_counting(&mut tests, "The lines above name the test that failed.", rust_count)
}

fn biome() -> Result<Count> {
    npm::install()?;
    let cure = "`npm run format` cures formatting; the rest is for you.";
    run(tool("biome").args(["check", "--error-on-warnings", "."]), cure)?;
    Ok(ONE)
}

fn types() -> Result<Count> {
    npm::install()?;
    run(tool("tsc").args(["-p", "tsconfig.json"]), "The lines above say where index.d.ts and its use differ.")?;
    Ok(ONE)
}

fn browser() -> Result<Count> {
    npm::install()?;
    npm::vendor()?;
    if !root().join("www/pkg/phiquant_bg.wasm").is_file() {
        bail!("www/pkg/ is empty: run `cargo xtask build` first");
    }
    let chrome = chrome::ensure()?;
    let files = test_files()?;
    // One file at a time: each starts a browser, and figures such as "within 2 s" must not depend on the neighbours.
    let mut tests = node(&chrome);
    tests.args(["--test", "--test-concurrency=1", "--test-reporter=spec"]).args(files);
    run_counting(&mut tests, "The lines above name the test that failed.", node_count)
}

/// What the real tools say: llama.cpp and transformers of our files, and Python's libraries of our fixtures.
fn peers() -> Result<Count> {
    const CURE: &str = "The lines above say where phiquant differs from its peer, or which Python package is missing.";
    let Some(python) = std::env::var_os("PHIQUANT_PYTHON") else {
        bail!("--peers needs PHIQUANT_PYTHON: a Python with torch, transformers, tokenizers and llama-cpp-python");
    };
    run(cargo().args(["build", "--bin", "phiquant"]), "The lines above say why.")?;
    let program = target_dir()?.join("debug/phiquant");
    let python = |arguments: &[&str]| {
        let mut python = command(&python);
        python.arg("-B").args(arguments);
        python
    };
    let demo = "www/models/demo";
    run(python(&["tools/check_gguf.py", demo, "--phiquant"]).arg(program), CURE)?;
    run(&mut python(&["tools/train_demo/check.py", demo]), CURE)?;
    // The corpus is made again; a change shows as one of the checkout.
    run(&mut python(&["tools/text_corpus.py"]), CURE)?;
    run(command("git").args(["diff", "--exit-code", "--stat", "tests/fixtures/text"]), CURE)?;
    Ok(Count { passed: 3, ignored: 0 })
}

fn node(chrome: &Path) -> Command {
    let mut node = command("node");
    node.env("CHROME", chrome);
    node
}

/// A program of an npm package. Its launcher script is run by node, which works without a shell on every system.
fn tool(name: &str) -> Command {
    let script = match name {
        "biome" => "node_modules/@biomejs/biome/bin/biome",
        _ => "node_modules/typescript/bin/tsc",
    };
    let mut tool = command("node");
    tool.arg(script);
    tool
}

/// tests/browser/*.test.js, in order.
fn test_files() -> Result<Vec<PathBuf>> {
    let folder = Path::new("tests/browser");
    let mut files: Vec<_> = std::fs::read_dir(root().join(folder))?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.ends_with(".test.js"))
        .map(|name| folder.join(name))
        .collect();
    if files.is_empty() {
        bail!("there is no tests/browser/*.test.js: the checkout is not complete");
    }
    files.sort();
    Ok(files)
}

/// `test result: ok. 12 passed; 0 failed; 1 ignored; …`
fn rust_count(line: &str) -> Option<Count> {
    let rest = line.trim().strip_prefix("test result: ok. ")?;
    let number = |word: &str| {
        let part = rest.split(';').find(|part| part.trim_end().ends_with(word))?;
        part.trim().split(' ').next()?.parse().ok()
    };
    Some(Count { passed: number("passed")?, ignored: number("ignored").unwrap_or(0) })
}

/// `ℹ pass 12`, `ℹ skipped 1`: the summary of node's test runner.
fn node_count(line: &str) -> Option<Count> {
    let line = line.trim().trim_start_matches("ℹ ");
    if let Some(passed) = line.strip_prefix("pass ") {
        return Some(Count { passed: passed.parse().ok()?, ignored: 0 });
    }
    let skipped = line.strip_prefix("skipped ").or_else(|| line.strip_prefix("todo "))?;
    Some(Count { passed: 0, ignored: skipped.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts() {
        let rust = "test result: ok. 12 passed; 0 failed; 3 ignored; 0 measured; 0 filtered out; finished in 0.00s";
        let count = rust_count(rust).unwrap();
        assert_eq!((count.passed, count.ignored), (12, 3));
        assert!(rust_count("test ranges ... ok").is_none());
        assert_eq!(node_count("ℹ pass 7").unwrap().passed, 7);
        assert_eq!(node_count("ℹ skipped 2").unwrap().ignored, 2);
        assert!(node_count("ℹ tests 9").is_none());
    }
}
