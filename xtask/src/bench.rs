//! `cargo xtask bench`: natively and in Chromium, beside wllama and (where PHIQUANT_PYTHON is set) native llama.cpp.

use crate::shell::{cargo, command, run, step, target_dir};
use crate::{chrome, npm};
use anyhow::{Context, Result};
use std::path::Path;
use std::process::{Command, Stdio};

#[derive(clap::Args)]
pub struct Options {
    /// What to measure; without any, all but `big`.
    #[arg(value_enum)]
    sections: Vec<Section>,
    /// Measure what was built before.
    #[arg(long)]
    no_build: bool,
    /// Also decode M, the model of 552 million parameters: its slowest peer takes minutes.
    #[arg(long)]
    medium: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Section {
    /// Kernels in memory, beside ggml's functions.
    Quantize,
    /// Whole conversions of S, beside llama_model_quantize.
    Convert,
    /// Prefill and decode, beside wllama and llama.cpp.
    Decode,
    /// 7.6 GB in one tab, with its memory.
    Big,
}

impl Section {
    fn name(self) -> &'static str {
        match self {
            Self::Quantize => "quantize",
            Self::Convert => "convert",
            Self::Decode => "decode",
            Self::Big => "big",
        }
    }
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
    let sections = match &options.sections[..] {
        [] => &[Section::Quantize, Section::Convert, Section::Decode],
        some => some,
    };
    let chrome = chrome::ensure()?;
    let target = target_dir()?;
    let folder = target.join("bench");
    std::fs::create_dir_all(&folder)?;
    if sections != [Section::Big] {
        prepare(&target.join("release/phiquant"), &folder, options.medium)?;
    }
    step("Chromium");
    let mut measure = command("node");
    measure.arg("xtask/bench/run.js").arg(&folder).args(sections.iter().map(|section| section.name()));
    run(measure.env("CHROME", chrome), CURE)
}

/// Makes the models that are not there yet, and measures natively.
fn prepare(program: &Path, folder: &Path, medium: bool) -> Result<()> {
    let phiquant = |arguments: &[&str]| {
        let mut program = command(program);
        program.args(arguments);
        program
    };
    let path = |name: &str| folder.join(name).to_string_lossy().into_owned();
    step("models");
    for size in if medium { &["small", "medium"][..] } else { &["small"] } {
        let source = path(size);
        if !Path::new(&source).join("model.safetensors").is_file() {
            run(&mut phiquant(&["synthesize", &source, "--size", size]), CURE)?;
        }
        for scheme in ["Q4_0", "Q8_0", "Q4_K_M", "F16"] {
            let file = path(&format!("{size}-{scheme}.gguf"));
            run(&mut phiquant(&["quantize", &source, "--scheme", scheme, "--output", &file]), CURE)?;
        }
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
    Ok(std::fs::write(folder.join("native.json"), report.to_string())?)
}

fn json(command: &mut Command) -> Result<serde_json::Value> {
    let output = command.stderr(Stdio::inherit()).output().context("the program could not be started")?;
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(&text).with_context(|| format!("this is no JSON: {text}"))
}
