//! `phiquant quantize`: planned first, then streamed through threads; memory is bounded by a few chunks.

mod sink;

use crate::Backend;
use crate::output::{self, Output};
use crate::source::{Reader, Source, io};
use phiquant::engine::gpu::GpuQuantizer;
use phiquant::formats::imatrix::Importance;
use phiquant::pipeline::{self, ErrorSums, Override, Plan, Task};
use phiquant::quant::Kernels;
use phiquant::{Error, ErrorKind, Result};
use serde_json::json;
use sink::Sink;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Instant;

#[derive(clap::Args)]
pub struct Options {
    /// A folder with config.json and safetensors, or a GGUF file.
    source: PathBuf,
    #[arg(long, default_value = "gguf")]
    format: String,
    /// As llama-quantize names it: Q4_K_M, Q8_0, Q4_0, F16 …
    #[arg(long, required_unless_present = "fit")]
    scheme: Option<String>,
    /// The mix with the least error whose file has at most this size, such as 2G.
    #[arg(long, value_name = "SIZE", value_parser = size, conflicts_with = "scheme")]
    fit: Option<u64>,
    /// A file, or a folder for a file with a name of its own.
    #[arg(long, short)]
    output: PathBuf,
    /// The scheme for every matrix, without the mix's exceptions.
    #[arg(long)]
    pure: bool,
    /// The type of the output matrix, or of an embedding that serves as one.
    #[arg(long, value_name = "TYPE")]
    output_tensor_type: Option<String>,
    /// The type of the token embedding.
    #[arg(long, value_name = "TYPE")]
    token_embedding_type: Option<String>,
    /// A type for the tensors whose names match, such as '^lm_head=Q8_0' or 'ffn_down=Q6_K'. The first match wins.
    #[arg(long = "tensor-type", visible_alias = "override", value_name = "REGEX=TYPE")]
    overrides: Vec<String>,
    /// An importance matrix, as llama-imatrix makes it (.gguf or .dat).
    #[arg(long, value_name = "FILE")]
    imatrix: Option<PathBuf>,
    /// Quantize weights that are quantized already, which loses more than quantizing the original does.
    #[arg(long)]
    allow_requantize: bool,
    /// Bytes of tensors in a file, such as 1800M or 2G (thousands of thousands); what is more goes into further files.
    #[arg(long, value_name = "SIZE", value_parser = size)]
    split_max_size: Option<u64>,
    #[arg(long, value_enum, default_value_t = Backend::Cpu)]
    backend: Backend,
    /// Threads that quantize; by default one for each processor.
    #[arg(long)]
    threads: Option<usize>,
    /// Also compute the output's SHA-256.
    #[arg(long)]
    sha256: bool,
}

/// Bytes of source at a time: few enough that threads share the last tensor, enough that reads are long.
const CHUNK: u64 = 4 << 20;
/// The GPU has its own pieces in flight within one.
const GPU_CHUNK: u64 = 32 << 20;

/// Whole rows of a task.
struct Chunk {
    task: usize,
    row: u64,
    rows: u64,
}

/// What has become of each chunk, and what a person should know.
struct Progress {
    sums: Mutex<Vec<Option<ErrorSums>>>,
    notices: Mutex<Vec<String>>,
    /// By the GPU, rather than by the CPU.
    on_gpu: Mutex<Vec<bool>>,
    bytes: AtomicU64,
}

pub fn run(options: &Options, output: &Output) -> Result<()> {
    let begin = Instant::now();
    let source = Source::open(&options.source)?;
    let mut wanted = pipeline::Options {
        format: options.format.clone(),
        scheme: options.scheme.clone().unwrap_or_default(),
        pure: options.pure,
        output_type: options.output_tensor_type.clone(),
        token_embedding_type: options.token_embedding_type.clone(),
        overrides: options.overrides.iter().map(|text| parse_override(text)).collect::<Result<_>>()?,
        name: None,
        allow_requantize: options.allow_requantize,
        split_bytes: options.split_max_size,
        importance: options.imatrix.as_deref().map(read_importance).transpose()?.map(Arc::new),
    };
    if let Some(bytes) = options.fit {
        let found = fit(&source, &wanted, bytes)?;
        output.say(&format!(
            "{}: {}, relative error {:.4}",
            found.scheme,
            output::bytes(found.bytes),
            found.error.sqrt()
        ));
        found.scheme.clone_into(&mut wanted.scheme);
    }
    let plan = pipeline::plan(&source.checkpoint, &wanted)?;
    let threads = match options.threads {
        Some(0) => return Err(Error::new(ErrorKind::BadOption, "--threads is 0; at least one is needed")),
        Some(threads) => threads,
        None => std::thread::available_parallelism().map_or(1, usize::from),
    };
    let gpu = match options.backend {
        Backend::Cpu => None,
        Backend::Gpu => Some(pollster::block_on(open_gpu(&plan))?),
    };
    let sink = Sink::create(&plan, &options.output, &source)?;
    for literal in &plan.literals {
        sink.writer().write(literal.file, literal.offset, &literal.bytes)?;
    }

    let chunks = chunks(&plan, if gpu.is_some() { GPU_CHUNK } else { CHUNK });
    let progress = Progress {
        sums: Mutex::new(vec![None; chunks.len()]),
        notices: Mutex::new(plan.notices.clone()),
        on_gpu: Mutex::new(vec![false; plan.tasks.len()]),
        bytes: AtomicU64::new(0),
    };
    let convert = Instant::now();
    let job = Job { source: &source, plan: &plan, chunks: &chunks, sink: &sink, progress: &progress };
    match &gpu {
        Some(gpu) => job.on_gpu(gpu, output)?,
        None => job.on_cpu(threads, output)?,
    }
    let seconds = convert.elapsed().as_secs_f64();
    let files = sink.finish(options.sha256)?;
    report(&plan, &chunks, progress, &files, (seconds, begin.elapsed().as_secs_f64()), threads, gpu.as_ref(), output);
    Ok(())
}

/// `2G`, `1800M`, `500k`, or bytes.
fn size(text: &str) -> std::result::Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor = match text[digits.len()..].to_ascii_uppercase().as_str() {
        "" | "B" => 1.0,
        "K" | "KB" => 1e3,
        "M" | "MB" => 1e6,
        "G" | "GB" => 1e9,
        unit => return Err(format!("{unit} is no unit of size; there are K, M and G")),
    };
    let bytes = digits.parse::<f64>().map_err(|_| "a size is a number with K, M or G after it")? * factor;
    if (1.0..1e18).contains(&bytes) { Ok(bytes as u64) } else { Err("that is no size of a file".into()) }
}

/// Reads the samples and chooses.
fn fit(source: &Source, options: &pipeline::Options, bytes: u64) -> Result<pipeline::fit::Candidate> {
    let mut fit = pipeline::fit::Fit::new(&source.checkpoint, options)?;
    let mut reader = source.reader();
    for (index, sample) in fit.samples().to_vec().into_iter().enumerate() {
        let mut rows = vec![0; (sample.span.end - sample.span.start) as usize];
        reader.read(sample.file, sample.span, &mut rows)?;
        fit.put(index, &rows)?;
    }
    fit.choose(&source.checkpoint, options, bytes)
}

fn read_importance(path: &Path) -> Result<Importance> {
    let bytes = std::fs::read(path).map_err(|error| io(&error, path))?;
    Importance::read(&path.file_name().unwrap_or_default().to_string_lossy(), &bytes)
}

fn parse_override(text: &str) -> Result<Override> {
    // A regular expression may have an equals sign, a scheme's name has none.
    match text.rsplit_once('=') {
        Some((pattern, scheme)) if !pattern.is_empty() && !scheme.is_empty() => {
            Ok(Override { pattern: pattern.to_owned(), scheme: scheme.to_owned() })
        }
        _ => Err(Error::new(ErrorKind::BadOption, format!("--tensor-type is {text:?}; it takes REGEX=TYPE"))),
    }
}

async fn open_gpu(plan: &Plan) -> Result<GpuQuantizer> {
    let gpu = GpuQuantizer::new(true).await?;
    let pairs: Vec<_> = plan.tasks.iter().map(|task| (task.from, task.to)).collect();
    gpu.self_check(&pairs).await?;
    Ok(gpu)
}

/// The tasks in pieces of about `bytes` of source.
fn chunks(plan: &Plan, bytes: u64) -> Vec<Chunk> {
    let mut chunks = Vec::new();
    for (task, it) in plan.tasks.iter().enumerate() {
        let row_bytes = (it.source.end - it.source.start) / it.rows.max(1);
        let most = (bytes / row_bytes.max(1)).max(1);
        let mut row = 0;
        while row < it.rows {
            let rows = most.min(it.rows - row);
            chunks.push(Chunk { task, row, rows });
            row += rows;
        }
    }
    chunks
}

struct Job<'a> {
    source: &'a Source,
    plan: &'a Plan,
    chunks: &'a [Chunk],
    sink: &'a Sink,
    progress: &'a Progress,
}

/// A thread's own files and memory.
struct Worker<'a> {
    reader: Reader<'a>,
    writer: sink::Writer<'a>,
    bytes: Vec<u8>,
    out: Vec<u8>,
}

impl Job<'_> {
    fn worker(&self) -> Worker<'_> {
        Worker { reader: self.source.reader(), writer: self.sink.writer(), bytes: Vec::new(), out: Vec::new() }
    }

    /// Threads take the next chunk as they come; the first error stops all.
    fn on_cpu(&self, threads: usize, output: &Output) -> Result<()> {
        let next = AtomicUsize::new(0);
        let stop = AtomicBool::new(false);
        let first = Mutex::new(None);
        let work = || {
            let mut worker = self.worker();
            while !stop.load(Relaxed) {
                let index = next.fetch_add(1, Relaxed);
                if index >= self.chunks.len() {
                    return;
                }
                let result = self.chunk(&mut worker, index, convert);
                if let Err(error) = result {
                    stop.store(true, Relaxed);
                    lock(&first).get_or_insert((index, error));
                }
            }
        };
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..threads.min(self.chunks.len()).max(1)).map(|_| scope.spawn(work)).collect();
            while threads.iter().any(|thread| !thread.is_finished()) {
                self.say(output);
                std::thread::sleep(std::time::Duration::from_millis(if self.chunks.len() > 64 { 20 } else { 1 }));
            }
        });
        let first = lock(&first).take();
        first.map_or(Ok(()), |(_, error)| Err(error))
    }

    /// One chunk after another; from a fault of the device on, the CPU goes on.
    fn on_gpu(&self, gpu: &GpuQuantizer, output: &Output) -> Result<()> {
        let mut worker = self.worker();
        let mut trusted = true;
        for index in 0..self.chunks.len() {
            self.say(output);
            self.chunk(&mut worker, index, |task, source, out| {
                let cols = task.cols as usize;
                if trusted && task.importance.is_none() && gpu.supports(task.from, task.to) {
                    match pollster::block_on(gpu.convert(task.from, task.to, cols, source, out)) {
                        Ok(sums) => {
                            lock(&self.progress.on_gpu)[self.chunks[index].task] = true;
                            return Ok(sums);
                        }
                        Err(error) if device_fault(&error) => {
                            trusted = false;
                            let notice = format!("from {} on the CPU computes: {}", task.tensor, error.message);
                            lock(&self.progress.notices).push(notice);
                        }
                        Err(error) => return Err(error),
                    }
                }
                convert(task, source, out)
            })?;
        }
        Ok(())
    }

    fn chunk(
        &self,
        worker: &mut Worker,
        index: usize,
        convert: impl FnOnce(&Task, &[u8], &mut [u8]) -> Result<ErrorSums>,
    ) -> Result<()> {
        let Chunk { task, row, rows } = self.chunks[index];
        let task = &self.plan.tasks[task];
        let row_bytes = (task.source.end - task.source.start) / task.rows;
        let start = task.source.start + row * row_bytes;
        let Some(out_row) = task.to.row_bytes(task.cols) else {
            return Err(Error::new(ErrorKind::Internal, "the plan has rows that its scheme does not divide"));
        };
        worker.bytes.resize((rows * row_bytes) as usize, 0);
        worker.out.resize((rows * out_row) as usize, 0);
        let name = |error: Error| error.in_tensor(task.tensor.clone());
        let span = start..start + rows * row_bytes;
        worker.reader.read(task.source_file, span, &mut worker.bytes).map_err(name)?;
        let in_file = |error: Error| name(error).in_file(self.source.checkpoint.files[task.source_file].clone());
        let sums = convert(task, &worker.bytes, &mut worker.out).map_err(in_file)?;
        worker.writer.write(task.file, task.offset + row * out_row, &worker.out)?;
        lock(&self.progress.sums)[index] = Some(sums);
        self.progress.bytes.fetch_add(rows * row_bytes, Relaxed);
        Ok(())
    }

    fn say(&self, output: &Output) {
        let total: u64 = self.plan.tasks.iter().map(|task| task.source.end - task.source.start).sum();
        output.progress(|| {
            let done = self.progress.bytes.load(Relaxed);
            format!("{} of {} ({:.0} %)", output::bytes(done), output::bytes(total), 1e2 * done as f64 / total as f64)
        });
    }
}

/// On the CPU.
fn convert(task: &Task, source: &[u8], out: &mut [u8]) -> Result<ErrorSums> {
    let importance = task.importance.as_deref();
    pipeline::convert_weighed(Kernels::best(), task.from, task.to, task.cols as usize, importance, source, out)
}

fn device_fault(error: &Error) -> bool {
    use ErrorKind::{DeviceLost, DeviceMismatch, NoDevice, Unsupported};
    matches!(error.kind, DeviceLost | DeviceMismatch | NoDevice | Unsupported)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[allow(clippy::too_many_arguments)]
fn report(
    plan: &Plan,
    chunks: &[Chunk],
    progress: Progress,
    files: &[sink::Made],
    (seconds, all_seconds): (f64, f64),
    threads: usize,
    gpu: Option<&GpuQuantizer>,
    output: &Output,
) {
    // In the order of the chunks, so that the sums do not depend on which thread was first.
    let mut sums: BTreeMap<usize, ErrorSums> = BTreeMap::new();
    for (chunk, sum) in chunks.iter().zip(lock(&progress.sums).iter()) {
        *sums.entry(chunk.task).or_default() += sum.unwrap_or_default();
    }
    let on_gpu = lock(&progress.on_gpu);
    let tensors: Vec<_> = plan
        .tasks
        .iter()
        .enumerate()
        .map(|(index, task)| {
            let sum = sums.get(&index).copied().unwrap_or_default();
            let size = (sum.original_squared / sum.weights.max(1) as f64).sqrt();
            json!({
                "tensor": task.tensor, "output": task.output, "scheme": task.to.name, "shape": [task.rows, task.cols],
                "rmse": sum.rmse(), "relative": if size > 0.0 { sum.rmse() / size } else { 0.0 }, "max": sum.max,
                "backend": if on_gpu[index] { "gpu" } else { Kernels::best().name() },
            })
        })
        .collect();
    let weights: u64 = sums.values().map(|sum| sum.weights).sum();
    let notices = lock(&progress.notices);
    let made: Vec<_> = files
        .iter()
        .map(|file| json!({ "name": file.name, "path": file.path, "bytes": file.bytes, "sha256": file.sha256 }))
        .collect();
    let value = json!({
        "files": made,
        "report": {
            "tensors": tensors, "seconds": all_seconds, "convertSeconds": seconds, "weights": weights,
            "backend": if gpu.is_some() { "gpu" } else { "cpu" }, "adapter": gpu.map(|gpu| gpu.info().name.clone()),
            "threads": threads, "notices": *notices,
        },
    });
    for notice in notices.iter() {
        output.say(&format!("note: {notice}"));
    }
    let mut lines = Vec::new();
    for file in files {
        lines.push(format!("{}: {}", file.path.display(), output::bytes(file.bytes)));
        lines.extend(file.sha256.as_ref().map(|sum| format!("  sha256 {sum}")));
    }
    let rate = weights as f64 / seconds.max(1e-9) / 1e6;
    output.say(&format!("{:.1} million weights in {all_seconds:.2} s ({rate:.0} M/s)", weights as f64 / 1e6));
    output.result(&value, &lines.join("\n"));
}
