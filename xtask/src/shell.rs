//! Where things are, and running other programs aloud.

use crate::test::Count;
use anyhow::{Context, Result, bail};
use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The repository's root.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the repository").to_path_buf()
}

/// Says what comes next.
pub fn step(what: &str) {
    eprintln!("\n==> {what}");
}

/// The cargo that runs this program, in the repository's root.
pub fn cargo() -> Command {
    command(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// A program, in the repository's root.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(root());
    // What cargo sets for this program would confuse the cargo below it (it tells a rebuild from the environment).
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    command
}

/// Prints the command line, runs it, and fails with `cure` where it fails.
pub fn run(command: &mut Command, cure: &str) -> Result<()> {
    eprintln!("  $ {}", line(command));
    let program = command.get_program().to_string_lossy().into_owned();
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => bail!("`{}` ended with {status}. {cure}", line(command)),
        Err(error) => bail!("`{program}` could not be started: {error}. {cure}"),
    }
}

/// Like [`run`], and adds up what `count` finds in the lines of its output.
pub fn run_counting(command: &mut Command, cure: &str, count: fn(&str) -> Option<Count>) -> Result<Count> {
    let line = line(command);
    eprintln!("  $ {line}");
    let mut child = command.stdout(Stdio::piped()).spawn().with_context(|| format!("`{line}` could not be started"))?;
    let mut total = Count::default();
    let mut stdout = BufReader::new(child.stdout.take().expect("a pipe was asked for"));
    let mut bytes = Vec::new();
    while stdout.read_until(b'\n', &mut bytes)? > 0 {
        let text = String::from_utf8_lossy(&bytes);
        print!("{text}");
        if let Some(found) = count(&text) {
            total.passed += found.passed;
            total.ignored += found.ignored;
        }
        bytes.clear();
    }
    let status = child.wait()?;
    if !status.success() {
        bail!("`{line}` ended with {status}. {cure}");
    }
    if total.passed == 0 {
        bail!("`{line}` ran no test. {cure}");
    }
    Ok(total)
}

/// What the command prints, without its last line break.
pub fn output(command: &mut Command) -> Result<String> {
    let line = line(command);
    let output = command.output().with_context(|| format!("`{line}` could not be started"))?;
    if !output.status.success() {
        bail!("`{line}` ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
}

fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<_> = words.map(|word| word.to_string_lossy().into_owned()).collect();
    let first = Path::new(&words[0]).file_name().map_or(words[0].clone(), |name| name.to_string_lossy().into_owned());
    std::iter::once(first).chain(words.into_iter().skip(1)).collect::<Vec<_>>().join(" ")
}

/// The first program of these names on PATH.
pub fn which(names: &[&str]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let found = names.iter().flat_map(|name| std::env::split_paths(&path).map(move |folder| folder.join(name)));
    found.into_iter().find(|file| file.is_file())
}

/// Where cargo puts its output.
pub fn target_dir() -> Result<PathBuf> {
    let metadata = output(cargo().args(["metadata", "--no-deps", "--format-version", "1", "--offline"]))
        .or_else(|_| output(cargo().args(["metadata", "--no-deps", "--format-version", "1"])))?;
    let metadata: serde_json::Value = serde_json::from_str(&metadata).context("cargo metadata is not JSON")?;
    let folder = metadata["target_directory"].as_str().context("cargo metadata names no target directory")?;
    Ok(folder.into())
}
