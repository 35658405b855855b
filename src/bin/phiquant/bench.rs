//! `phiquant bench`: quantization, prefill and decode on this machine, in numbers that can be compared with others.

use crate::Backend;
use crate::output::Output;
use crate::run;
use crate::source::Source;
use crate::synthesize::Size;
use phiquant::engine;
use phiquant::engine::cpu::Cpu;
use phiquant::engine::gpu::{GpuQuantizer, WebGpu};
use phiquant::phi::decode::Session;
use phiquant::phi::model::Model;
use phiquant::phi::names::Role;
use phiquant::phi::sample::Sampling;
use phiquant::phi::synthetic::Synthetic;
use phiquant::pipeline;
use phiquant::quant::{self, Kernels, Scheme};
use phiquant::tensor::DType;
use phiquant::{Error, ErrorKind, Result};
use serde_json::{Value, json};
use std::hint::black_box;
use std::path::PathBuf;
use std::time::{Duration, Instant};

#[derive(clap::Args)]
pub struct Options {
    /// A model to run; by default one of random weights.
    model: Option<PathBuf>,
    /// The random model's size.
    #[arg(long, value_enum, default_value_t = Size::Small)]
    size: Size,
    /// Schemes to quantize to, and to run the random model in.
    #[arg(long = "scheme", default_values = ["Q4_0", "Q8_0", "Q6_K", "F16"])]
    schemes: Vec<String>,
    /// Threads that quantize.
    #[arg(long, default_values_t = [1, 2])]
    threads: Vec<usize>,
    #[arg(long, value_enum, default_value_t = Backend::Cpu)]
    backend: Backend,
    /// Tokens of the prompt.
    #[arg(long, default_value_t = 256)]
    prompt_tokens: usize,
    #[arg(long, short = 'n', default_value_t = 64)]
    tokens: usize,
}

/// Weights that a thread quantizes again and again: 16 MB of bf16, more than caches hold.
const ROWS: usize = 2048;
const COLS: usize = 4096;
const MEASURE: Duration = Duration::from_millis(700);

pub fn run(options: &Options, output: &Output) -> Result<()> {
    let mut schemes: Vec<&'static dyn Scheme> = Vec::new();
    for name in &options.schemes {
        let found = quant::by_name(name);
        let unknown = || Error::new(ErrorKind::BadOption, format!("there is no scheme {name:?}"));
        schemes.push(found.ok_or_else(unknown)?);
    }
    let mut lines =
        vec![format!("{:10} {:>8} {:>8} {:>12} {:>10}", "scheme", "backend", "threads", "M weights/s", "MB/s in")];
    let mut quantize = Vec::new();
    let mut row = |scheme: &str, backend: &str, threads: usize, rate: f64| {
        let bytes = rate * DType::BF16.group_bytes as f64;
        lines.push(format!("{scheme:10} {backend:>8} {threads:>8} {:>12.0} {:>10.0}", rate / 1e6, bytes / 1e6));
        quantize.push(json!({ "scheme": scheme, "backend": backend, "threads": threads, "weightsPerSecond": rate, "bytesPerSecond": bytes }));
    };
    let source = weights()?;
    for scheme in &schemes {
        let dtype = scheme.spec().dtype;
        output.progress(|| format!("quantizing to {}", dtype.name));
        match options.backend {
            Backend::Cpu => {
                for &threads in &options.threads {
                    row(dtype.name, Kernels::best().name(), threads, on_cpu(&source, dtype, threads)?);
                }
            }
            Backend::Gpu => {
                let gpu = pollster::block_on(GpuQuantizer::new(true))?;
                if gpu.supports(DType::BF16, dtype) {
                    row(dtype.name, "gpu", 1, on_gpu(&gpu, &source, dtype)?);
                }
            }
        }
    }
    lines.push(format!("\n{:10} {:>8} {:>16} {:>16}", "model", "backend", "prefill tokens/s", "decode tokens/s"));
    let mut models = Vec::new();
    match &options.model {
        Some(path) => {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            measure(&name, options, output, Weights::Stored(&Source::open(path)?), &mut lines, &mut models)?;
        }
        None => {
            let model = Synthetic::new(options.size.config(), DType::BF16, 1)?;
            for scheme in &schemes {
                let name = scheme.spec().dtype.name;
                measure(name, options, output, Weights::Random(&model, name), &mut lines, &mut models)?;
            }
        }
    }
    let value = json!({ "quantize": quantize, "models": models, "processors": std::thread::available_parallelism().map_or(1, usize::from) });
    output.result(&value, &lines.join("\n"));
    Ok(())
}

/// Random bf16 weights, as a checkpoint has them.
fn weights() -> Result<Vec<u8>> {
    let model = Synthetic::new(Size::Small.config(), DType::F32, 1)?;
    let mut values = vec![0.0; ROWS * COLS];
    model.fill(Role::Output, 0, &mut values);
    let mut bytes = vec![0; values.len() * DType::BF16.group_bytes];
    let Some(bf16) = quant::by_name("BF16") else {
        return Err(Error::new(ErrorKind::Internal, "there is no scheme BF16"));
    };
    bf16.quantize(Kernels::best(), &values, COLS, None, &mut [&mut bytes])?;
    Ok(bytes)
}

fn room(to: DType) -> Vec<u8> {
    vec![0; ROWS * to.row_bytes(COLS as u64).unwrap_or_default() as usize]
}

/// Weights per second of all threads together, errors measured as a conversion does.
fn on_cpu(source: &[u8], to: DType, threads: usize) -> Result<f64> {
    let work = || -> Result<f64> {
        let mut out = room(to);
        pipeline::convert(Kernels::best(), DType::BF16, to, COLS, source, &mut out)?;
        rate(|| pipeline::convert(Kernels::best(), DType::BF16, to, COLS, source, &mut out))
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let join = |thread: std::thread::ScopedJoinHandle<Result<f64>>| match thread.join() {
            Ok(rate) => rate,
            Err(_) => Err(Error::new(ErrorKind::Internal, "a thread panicked")),
        };
        threads.into_iter().map(join).sum()
    })
}

fn on_gpu(gpu: &GpuQuantizer, source: &[u8], to: DType) -> Result<f64> {
    let mut out = room(to);
    pollster::block_on(gpu.convert(DType::BF16, to, COLS, source, &mut out))?;
    rate(|| pollster::block_on(gpu.convert(DType::BF16, to, COLS, source, &mut out)))
}

/// Weights per second of `work`, which goes over all weights once.
fn rate<T>(mut work: impl FnMut() -> Result<T>) -> Result<f64> {
    let (begin, mut rounds) = (Instant::now(), 0);
    while begin.elapsed() < MEASURE {
        black_box(work()?);
        rounds += 1;
    }
    Ok((rounds * ROWS * COLS) as f64 / begin.elapsed().as_secs_f64())
}

enum Weights<'a> {
    Stored(&'a Source),
    Random(&'a Synthetic, &'static str),
}

fn measure(
    name: &str,
    options: &Options,
    output: &Output,
    weights: Weights,
    lines: &mut Vec<String>,
    models: &mut Vec<Value>,
) -> Result<()> {
    let (backend, prefill, decode) = match options.backend {
        Backend::Cpu => speed(build(weights, Cpu::default(), output)?, options)?,
        Backend::Gpu => speed(build(weights, pollster::block_on(WebGpu::new(true))?, output)?, options)?,
    };
    lines.push(format!("{name:10} {backend:>8} {prefill:>16.0} {decode:>16.1}"));
    models.push(json!({ "model": name, "backend": backend, "prefillTokensPerSecond": prefill, "decodeTokensPerSecond": decode }));
    Ok(())
}

fn build<B: engine::Backend>(weights: Weights, backend: B, output: &Output) -> Result<Model<B>> {
    match weights {
        Weights::Stored(source) => run::load(source, backend, None, output),
        Weights::Random(model, scheme) => {
            output.progress(|| format!("making a model in {scheme}"));
            // As llama-quantize's mix: Q4_0 keeps the output matrix in Q6_K.
            let mix = |role| if scheme == "Q4_0" && role == Role::Output { "Q6_K" } else { scheme };
            model.load(backend, None, mix)
        }
    }
}

/// The backend's name, prefill and decode in tokens per second; after a first run that is not measured.
fn speed<B: engine::Backend>(mut model: Model<B>, options: &Options) -> Result<(&'static str, f64, f64)> {
    let backend = model.backend.name();
    // What a random prompt leads to is of no interest, only that it goes on.
    model.config.eos.clear();
    let vocab = model.config.vocab as u32;
    let room = model.context.saturating_sub(options.tokens + 1).max(1);
    let length = options.prompt_tokens.clamp(1, room);
    let mut session = Session::new(model)?;
    let mut best = (0.0f64, 0.0f64);
    for round in 0..3u32 {
        // Another first token each time, so that nothing is in the cache.
        let prompt: Vec<u32> = (0..length as u32).map(|n| (n * 7919 + 13 + round) % vocab).collect();
        let begin = Instant::now();
        session.begin(&prompt, Sampling::default())?;
        while pollster::block_on(session.prefill())? > 0 {}
        let prefill = length as f64 / begin.elapsed().as_secs_f64();
        // The first token is sampled from the prefill's logits.
        pollster::block_on(session.next())?;
        let begin = Instant::now();
        let mut tokens = 0;
        while tokens < options.tokens && pollster::block_on(session.next())?.is_some() {
            tokens += 1;
        }
        let decode = tokens as f64 / begin.elapsed().as_secs_f64();
        if round > 0 {
            best = (best.0.max(prefill), best.1.max(decode));
        }
    }
    Ok((backend, best.0, best.1))
}
