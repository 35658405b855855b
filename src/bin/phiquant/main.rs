//! The same core from a terminal: `phiquant quantize | run | bench | synthesize`.

mod bench;
mod output;
mod quantize;
mod run;
mod source;
mod synthesize;

use clap::{Parser, Subcommand, ValueEnum};
use phiquant::Error;
use std::process::ExitCode;

#[derive(Parser)]
#[command(name = "phiquant", version, about = "Quantizes and runs Microsoft Phi checkpoints")]
struct Args {
    #[command(subcommand)]
    command: Command,
    /// Print one JSON object to standard output, an error's too; no progress.
    #[arg(long, global = true)]
    json: bool,
    /// Print no progress.
    #[arg(long, short, global = true)]
    quiet: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Convert a checkpoint (a folder with safetensors, or a GGUF file) to a quantized file.
    Quantize(quantize::Options),
    /// Answer a prompt with a checkpoint or a GGUF file.
    Run(run::Options),
    /// Measure quantization, prefill and decode on this machine.
    Bench(bench::Options),
    /// Write a checkpoint of random weights, for measurements and tests.
    Synthesize(synthesize::Options),
}

/// What computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Backend {
    Cpu,
    /// Vulkan or Metal. A software adapter is taken too.
    Gpu,
}

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => return usage(&error),
    };
    let output = output::Output::new(args.json, args.quiet);
    let result = match &args.command {
        Command::Quantize(options) => quantize::run(options, &output),
        Command::Run(options) => run::run(options, &output),
        Command::Bench(options) => bench::run(options, &output),
        Command::Synthesize(options) => synthesize::run(options, &output),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error, &output),
    }
}

/// Exit code 2 for what was asked, 1 for what was found.
fn fail(error: &Error, output: &output::Output) -> ExitCode {
    output.error(error);
    ExitCode::from(if error.kind == phiquant::ErrorKind::BadOption { 2 } else { 1 })
}

/// clap's own words; as JSON where that was asked for.
fn usage(error: &clap::Error) -> ExitCode {
    if error.use_stderr() && std::env::args().any(|argument| argument == "--json") {
        let text = error.to_string();
        let what: Vec<&str> = text.lines().take_while(|line| !line.is_empty()).map(str::trim).collect();
        let what = what.join(" ").trim_start_matches("error: ").to_owned();
        let error = Error::new(phiquant::ErrorKind::BadOption, format!("{what} (`phiquant --help` lists the options)"));
        return fail(&error, &output::Output::new(true, true));
    }
    let _ = error.print();
    ExitCode::from(if error.use_stderr() { 2 } else { 0 })
}
