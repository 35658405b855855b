//! `phiquant run`: a prompt in, text out as it comes.

use crate::Backend;
use crate::output::{self, Output};
use crate::source::Source;
use phiquant::engine;
use phiquant::engine::cpu::Cpu;
use phiquant::engine::gpu::WebGpu;
use phiquant::phi::decode::Session;
use phiquant::phi::model::{Loader, Model};
use phiquant::phi::sample::Sampling;
use phiquant::text::{Detokenizer, Message, StopStrings, Text};
use phiquant::{Error, ErrorKind, Result};
use serde_json::json;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::time::Instant;

#[derive(clap::Args)]
pub struct Options {
    /// A GGUF file, or a folder with config.json and safetensors.
    model: PathBuf,
    /// What to answer; - reads it from standard input.
    #[arg(long, short)]
    prompt: String,
    /// A system message before it.
    #[arg(long)]
    system: Option<String>,
    /// Give the prompt to the model as it is, without the chat template.
    #[arg(long, conflicts_with = "system")]
    raw: bool,
    #[arg(long, short = 'n', default_value_t = 256)]
    max_tokens: usize,
    /// 0: greedy.
    #[arg(long, default_value_t = 0.0, allow_negative_numbers = true)]
    temperature: f32,
    /// Keep the k likeliest tokens; 0: all.
    #[arg(long, default_value_t = 0)]
    top_k: usize,
    /// Keep the likeliest tokens until their probabilities sum to p.
    #[arg(long, default_value_t = 1.0)]
    top_p: f32,
    /// Keep tokens at least this fraction as likely as the likeliest.
    #[arg(long, default_value_t = 0.0)]
    min_p: f32,
    #[arg(long, default_value_t = 1.0)]
    repeat_penalty: f32,
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// End the answer before this text; may be given several times.
    #[arg(long)]
    stop: Vec<String>,
    /// Tokens that the KV cache holds; by default the model's, at most 4096.
    #[arg(long)]
    context: Option<usize>,
    #[arg(long, value_enum, default_value_t = Backend::Cpu)]
    backend: Backend,
}

/// Bytes of weights at a time.
const PIECE: u64 = 4 << 20;

pub fn run(options: &Options, output: &Output) -> Result<()> {
    let source = Source::open(&options.model)?;
    let text = Text::new(&source.checkpoint.texts)?;
    let ids = prompt(options, &text)?;
    for notice in &source.checkpoint.notices {
        output.say(&format!("note: {notice}"));
    }
    match options.backend {
        Backend::Cpu => answer(load(&source, Cpu::default(), options.context, output)?, &text, &ids, options, output),
        Backend::Gpu => {
            let gpu = pollster::block_on(WebGpu::new(true))?;
            answer(load(&source, gpu, options.context, output)?, &text, &ids, options, output)
        }
    }
}

fn prompt(options: &Options, text: &Text) -> Result<Vec<u32>> {
    let mut prompt = options.prompt.clone();
    if prompt == "-" {
        prompt.clear();
        std::io::stdin()
            .read_to_string(&mut prompt)
            .map_err(|error| Error::new(ErrorKind::Io, format!("standard input cannot be read: {error}")))?;
    }
    if options.raw {
        return text.encode(&prompt, true);
    }
    let turn = |role: &str, content: String| Message { role: role.to_owned(), content };
    let system = options.system.clone().map(|content| turn("system", content));
    let messages: Vec<Message> = system.into_iter().chain([turn("user", prompt)]).collect();
    text.chat(&messages)
}

/// Reads every wanted tensor, a few rows at a time.
pub fn load<B: engine::Backend>(
    source: &Source,
    backend: B,
    context: Option<usize>,
    output: &Output,
) -> Result<Model<B>> {
    let mut loader = Loader::new(&source.checkpoint, backend, context)?;
    let wanted = loader.wanted().to_vec();
    let total: u64 = wanted.iter().map(|it| it.span.end - it.span.start).sum();
    let (mut done, mut reader, mut bytes) = (0, source.reader(), Vec::new());
    for (index, it) in wanted.iter().enumerate() {
        let rows = (it.span.end - it.span.start) / it.row_bytes.max(1);
        let most = (PIECE / it.row_bytes.max(1)).max(1);
        let mut row = 0;
        while row < rows {
            let count = most.min(rows - row);
            let start = it.span.start + row * it.row_bytes;
            bytes.resize((count * it.row_bytes) as usize, 0);
            reader.read(it.file, start..start + count * it.row_bytes, &mut bytes)?;
            loader.put(index, row, &bytes).map_err(|error| error.in_file(&source.checkpoint.files[it.file]))?;
            row += count;
            done += count * it.row_bytes;
            output.progress(|| format!("loading: {} of {}", output::bytes(done), output::bytes(total)));
        }
    }
    loader.finish()
}

fn answer<B: engine::Backend>(
    model: Model<B>,
    text: &Text,
    ids: &[u32],
    options: &Options,
    output: &Output,
) -> Result<()> {
    let backend = model.backend.name();
    let mut session = Session::new(model)?;
    let sampling = Sampling {
        temperature: options.temperature,
        top_k: options.top_k,
        top_p: options.top_p,
        min_p: options.min_p,
        repeat_penalty: options.repeat_penalty,
        seed: options.seed,
    };
    let begin = Instant::now();
    let mut left = session.begin(ids, sampling)?;
    while left > 0 {
        output.progress(|| format!("reading the prompt: {left} tokens left"));
        left = pollster::block_on(session.prefill())?;
    }
    let prefill = begin.elapsed().as_secs_f64();
    output.end_progress();

    let mut stream = Detokenizer::new(|ids: &[u32]| text.decode(ids));
    let mut stops = StopStrings::new(&options.stop);
    let (mut tokens, mut whole, mut finish) = (Vec::new(), String::new(), "length");
    let begin = Instant::now();
    let mut show = |piece: &str| {
        whole.push_str(piece);
        print(piece, output)
    };
    while tokens.len() < options.max_tokens {
        let token = match pollster::block_on(session.next()) {
            Ok(Some(token)) => token,
            Ok(None) => {
                finish = "stop";
                break;
            }
            Err(error) if error.kind == ErrorKind::ContextFull => break,
            Err(error) => return Err(error),
        };
        tokens.push(token);
        let (piece, stopped) = stops.push(&stream.push(token)?);
        show(&piece)?;
        if stopped {
            finish = "stop-string";
            break;
        }
    }
    let decode = begin.elapsed().as_secs_f64();
    if finish != "stop-string" {
        let (piece, stopped) = stops.push(&stream.flush()?);
        show(&piece)?;
        if !stopped {
            show(&stops.flush())?;
        }
    }
    print("\n", output)?;
    // The first token comes of the prefill.
    let rate = |tokens: usize, seconds: f64| if seconds > 0.0 { tokens as f64 / seconds } else { 0.0 };
    let (prefill_rate, decode_rate) = (rate(ids.len(), prefill), rate(tokens.len().saturating_sub(1), decode));
    let value = json!({
        "text": whole, "tokens": tokens, "promptTokens": ids, "backend": backend,
        "usage": {
            "promptTokens": ids.len(), "tokens": tokens.len(), "prefillTokensPerSecond": prefill_rate,
            "decodeTokensPerSecond": decode_rate, "finish": if finish == "length" { finish } else { "stop" },
        },
    });
    let count = tokens.len();
    output.say(&format!(
        "{} tokens read at {prefill_rate:.0}/s, {count} written at {decode_rate:.0}/s ({backend})",
        ids.len()
    ));
    output.result(&value, "");
    Ok(())
}

/// Text at once, unless one JSON object holds it in the end.
fn print(piece: &str, output: &Output) -> Result<()> {
    if output.json {
        return Ok(());
    }
    let mut out = std::io::stdout().lock();
    let result = out.write_all(piece.as_bytes()).and_then(|()| out.flush());
    result.map_err(|error| Error::new(ErrorKind::Io, format!("standard output cannot be written: {error}")))
}
