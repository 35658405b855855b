//! The project's commands: `cargo xtask serve | build | package | test | bench`.
//!
//! Each says what it does, step by step, and fails with a sentence that tells the cure.

mod bench;
mod chrome;
mod npm;
mod package;
mod serve;
mod shell;
mod test;
mod wasm;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Builds, serves, tests and measures phiquant")]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build the wasm, get the npm packages by lock file, and serve the page.
    Serve(serve::Options),
    /// Build what `serve` serves.
    Build {
        /// Compile fast rather than for speed.
        #[arg(long)]
        dev: bool,
    },
    /// Make the npm package in dist/ and print its sizes.
    Package,
    /// Install what tests need, run everything, stop at the first failure.
    Test(test::Options),
    /// Measure: quantization, prefill and decode, native and in Chromium, beside wllama.
    Bench(bench::Options),
}

fn main() -> ExitCode {
    let result = match Args::parse().command {
        Command::Serve(options) => serve::run(&options),
        Command::Build { dev } => build(dev),
        Command::Package => package::run(),
        Command::Bench(options) => bench::run_all(&options),
        Command::Test(options) => test::run_steps(&options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nerror: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Everything under www/ that is not in git: the wasm with its glue, and the two text libraries.
pub fn build(dev: bool) -> anyhow::Result<()> {
    wasm::build(if dev { wasm::Profile::Dev } else { wasm::Profile::Release })?;
    npm::install()?;
    npm::vendor()
}
