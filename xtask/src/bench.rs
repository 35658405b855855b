//! `cargo xtask bench`: native, then in Chromium, beside wllama and (where PHIQUANT_PYTHON is set) native llama.cpp.

use crate::shell::{cargo, command, run, step, target_dir};
use crate::{chrome, npm};
use anyhow::{Context, Result};
use std::path::Path;
use std::process::{Command, Stdio};

#[derive(clap::Args)]
pub struct Options {
    /// Measure what was built before.
    #[arg(long)]
    no_build: bool,
}

const CURE: &str = "The lines above say why.";

pub fn run_all(options: &Options) -> Result<()> {
    if options.no_build {
        npm::install()?;
    } else {
        crate::build(false)?;
        step("the terminal program, release profile");
        run(cargo().args(["build", "--release", "--bin", "phiquant"]), CURE)?;
    }
    let chrome = chrome::ensure()?;
    let target = target_dir()?;
    let program = target.join("release/phiquant");
    let folder = target.join("bench");
    std::fs::create_dir_all(&folder)?;

    step("models");
    let phiquant = |arguments: &[&str]| {
        let mut program = command(&program);
        program.args(arguments);
        program
    };
    let path = |name: &str| folder.join(name).to_string_lossy().into_owned();
    run(&mut phiquant(&["synthesize", &path("small")]), CURE)?;
    for scheme in ["Q4_0", "Q8_0", "F16"] {
        let file = path(&format!("small-{scheme}.gguf"));
        run(&mut phiquant(&["quantize", &path("small"), "--scheme", scheme, "--output", &file]), CURE)?;
    }
    let demo = path("demo.gguf");
    run(&mut phiquant(&["quantize", "www/models/demo", "--scheme", "Q8_0", "--output", &demo]), CURE)?;

    step("native");
    let mut report: serde_json::Value = json(&mut phiquant(&["bench", "--json"]))?;
    let of_demo = json(&mut phiquant(&["bench", &demo, "--scheme", "Q8_0", "--threads", "1", "--json"]))?;
    let (mut models, mut rest) = (report["models"].take(), of_demo["models"].clone());
    rest[0]["model"] = "demo".into();
    if let (Some(models), Some(rest)) = (models.as_array_mut(), rest.as_array()) {
        models.extend(rest.iter().cloned());
    }
    report["models"] = models;
    std::fs::write(folder.join("native.json"), report.to_string())?;

    let peer = folder.join("llama.json");
    match std::env::var_os("PHIQUANT_PYTHON") {
        Some(python) => {
            step("llama.cpp, native");
            let text = json(command(python).arg("xtask/bench/llama.py").arg(&folder))?.to_string();
            std::fs::write(&peer, text)?;
        }
        None => {
            eprintln!("  PHIQUANT_PYTHON is not set: no figures of native llama.cpp");
            let _ = std::fs::remove_file(&peer);
        }
    }
    step("Chromium");
    in_chromium(&chrome, &folder)
}

fn json(command: &mut Command) -> Result<serde_json::Value> {
    let output = command.stderr(Stdio::inherit()).output().context("the program could not be started")?;
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(&text).with_context(|| format!("this is no JSON: {text}"))
}

fn in_chromium(chrome: &Path, folder: &Path) -> Result<()> {
    run(command("node").arg("xtask/bench/run.js").arg(folder).env("CHROME", chrome), CURE)
}
