//! Every `#[wasm_bindgen]` item and nothing else.
//!
//! Small things cross as JSON, bytes as byte arrays, u64 positions as numbers (exact below 2⁵³). Errors are thrown as
//! `{ code, message, file, tensor }`; `www/engine/errors.js` makes real errors of them.

mod bench;
mod model;

use crate::checkpoint;
use crate::engine::gpu;
use crate::error::Error;
use crate::formats::{Need, imatrix};
use crate::pipeline::{self, ErrorSums, Options};
use crate::quant::{self, Kernels};
use crate::tensor::DType;
use js_sys::{Array, Object, Reflect, Uint8Array};
use serde_json::json;
use sha2::Digest;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use wasm_bindgen::prelude::*;

type Result<T> = std::result::Result<T, JsValue>;

thread_local! {
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Keeps a panic's message for [`take_panic`]: all that JavaScript sees of a panic is a trap.
#[wasm_bindgen(start)]
pub fn start() {
    std::panic::set_hook(Box::new(|info| PANIC.with(|panic| *panic.borrow_mut() = Some(info.to_string()))));
}

/// The message of the panic behind the last trap; none behind a failed allocation.
#[wasm_bindgen(js_name = takePanic)]
pub fn take_panic() -> Option<String> {
    PANIC.with(|panic| panic.borrow_mut().take())
}

/// Bytes of this instance's memory, which only ever grows.
#[wasm_bindgen(js_name = memoryBytes)]
pub fn memory_bytes() -> f64 {
    (core::arch::wasm32::memory_size(0) as f64) * 65536.0
}

fn object(fields: &[(&str, JsValue)]) -> JsValue {
    let object = Object::new();
    for (name, value) in fields {
        // Setting a property of a plain object does not fail.
        let _ = Reflect::set(&object, &JsValue::from_str(name), value);
    }
    object.into()
}

fn thrown(error: Error) -> JsValue {
    object(&[
        ("code", error.kind.code().into()),
        ("message", error.to_string().into()),
        ("file", error.file.into()),
        ("tensor", error.tensor.into()),
    ])
}

fn parse<'a, T: serde::Deserialize<'a>>(what: &str, text: &'a str) -> Result<T> {
    serde_json::from_str(text).map_err(|error| bad_option(&format!("{what} cannot be understood: {error}")))
}

fn bad_option(message: &str) -> JsValue {
    thrown(Error::new(crate::ErrorKind::BadOption, message))
}

fn dtype(name: &str) -> Result<DType> {
    match quant::by_name(name) {
        Some(scheme) => Ok(scheme.spec().dtype),
        None => Err(bad_option(&format!("there is no type {name}"))),
    }
}

/// JSON: `[{ format, scheme, type, bits, group, summary }]`, the formats and schemes that a conversion can be asked for.
#[wasm_bindgen]
pub fn schemes() -> String {
    let choice = |choice: pipeline::Choice| json!({ "format": choice.format, "scheme": choice.scheme, "type": choice.dtype, "bits": choice.bits, "group": choice.group, "summary": choice.summary });
    json!(pipeline::schemes().into_iter().map(choice).collect::<Vec<_>>()).to_string()
}

/// Collects a checkpoint; see [`checkpoint::Builder`].
#[wasm_bindgen]
pub struct CheckpointBuilder(checkpoint::Builder);

#[wasm_bindgen]
impl CheckpointBuilder {
    /// `name`: the folder's, repository's or file's, without its path.
    #[wasm_bindgen(constructor)]
    #[allow(clippy::new_without_default)]
    pub fn new(name: &str) -> Self {
        let mut builder = checkpoint::Builder::default();
        builder.set_name(name);
        Self(builder)
    }

    #[wasm_bindgen(js_name = addName)]
    pub fn add_name(&mut self, name: &str) {
        self.0.add_name(name);
    }

    #[wasm_bindgen(js_name = addText)]
    pub fn add_text(&mut self, name: &str, text: String) -> Result<()> {
        self.0.add_text(name, text).map_err(thrown)
    }

    #[wasm_bindgen(js_name = addBlob)]
    pub fn add_blob(&mut self, name: &str, bytes: Vec<u8>) -> Result<()> {
        self.0.add_blob(name, bytes).map_err(thrown)
    }

    /// Names of the weight files whose headers are wanted.
    #[wasm_bindgen(js_name = weightFiles)]
    pub fn weight_files(&self) -> Result<Vec<String>> {
        self.0.weight_files().map_err(thrown)
    }

    /// The next bytes of a file's header. Returns how many more are wanted at least; `{ at }` where they are wanted from
    /// another place; `undefined` when it is complete.
    #[wasm_bindgen(js_name = pushHeader)]
    pub fn push_header(&mut self, file: &str, size: Option<f64>, bytes: &[u8]) -> Result<JsValue> {
        Ok(match self.0.push_header(file, size.map(|size| size as u64), bytes).map_err(thrown)? {
            Need::More(bytes) => (bytes as f64).into(),
            Need::At(place) => object(&[("at", (place as f64).into())]),
            Need::Nothing => JsValue::UNDEFINED,
        })
    }

    pub fn finish(self) -> Result<Checkpoint> {
        Ok(Checkpoint(Rc::new(self.0.finish().map_err(thrown)?)))
    }
}

/// A checkpoint without its weights.
#[wasm_bindgen]
pub struct Checkpoint(Rc<checkpoint::Checkpoint>);

#[wasm_bindgen]
impl Checkpoint {
    /// JSON: `{ config, tensors: [{ name, shape, dtype, bytes }], files, notices }`.
    pub fn summary(&self) -> String {
        let checkpoint = &*self.0;
        let config = &checkpoint.config;
        let elements = |shape: &[u64]| shape.iter().map(|&dim| dim as f64).product::<f64>();
        let tensors = checkpoint.tensors.iter().map(|located| &located.info);
        let parameters: f64 = tensors.clone().map(|info| elements(&info.shape)).sum();
        let list: Vec<_> = tensors
            .map(|info| {
                json!({ "name": info.name, "shape": info.shape, "dtype": info.dtype.name, "bytes": info.bytes() })
            })
            .collect();
        json!({
            "config": {
                "architecture": config.architecture,
                "vocab": config.vocab,
                "hidden": config.hidden,
                "ffn": config.ffn,
                "layers": config.layers,
                "heads": config.heads,
                "kvHeads": config.kv_heads,
                "headDim": config.head_dim,
                "context": config.context,
                "originalContext": config.original_context,
                "tied": config.tied,
                "slidingWindow": config.sliding_window,
                "ropeTheta": config.rope.theta,
                "ropeDim": config.rope.dim,
                "longRope": config.rope.long.is_some(),
                "bos": config.bos,
                "eos": config.eos,
                "pad": config.pad,
                "parameters": parameters,
            },
            "tensors": list,
            "files": checkpoint.files,
            "notices": checkpoint.notices,
        })
        .to_string()
    }

    /// A text file of the checkpoint.
    pub fn text(&self, name: &str) -> Option<String> {
        self.0.texts.get(name).cloned()
    }

    /// Plans a conversion; `options`: JSON of [`Options`].
    pub fn plan(&self, options: &str, importance: Option<Importance>) -> Result<Plan> {
        let mut options: Options = parse("the options", options)?;
        options.importance = importance.map(|importance| importance.0);
        Ok(Plan(pipeline::plan(&self.0, &options).map_err(thrown)?))
    }

    /// Begins to choose a mix; `options` as for [`Self::plan`], whatever scheme they name.
    pub fn fit(&self, options: &str, importance: Option<Importance>) -> Result<Fit> {
        let mut options: Options = parse("the options", options)?;
        options.importance = importance.map(|importance| importance.0);
        let fit = pipeline::fit::Fit::new(&self.0, &options).map_err(thrown)?;
        Ok(Fit { fit, checkpoint: self.0.clone(), options })
    }
}

/// The choice of a mix by its size; see [`pipeline::fit`].
#[wasm_bindgen]
pub struct Fit {
    fit: pipeline::fit::Fit,
    checkpoint: Rc<checkpoint::Checkpoint>,
    options: Options,
}

#[wasm_bindgen]
impl Fit {
    /// JSON: `[{ file, start, end }]`, the bytes to read.
    pub fn samples(&self) -> String {
        let sample = |s: &pipeline::fit::Sample| json!({ "file": s.file, "start": s.span.start, "end": s.span.end });
        json!(self.fit.samples().iter().map(sample).collect::<Vec<_>>()).to_string()
    }

    pub fn put(&mut self, sample: usize, bytes: &[u8]) -> Result<()> {
        self.fit.put(sample, bytes).map_err(thrown)
    }

    /// JSON: `[{ scheme, bytes, error }]`, the least error first.
    pub fn candidates(&self) -> Result<String> {
        Ok(json!(self.fit.candidates(&self.checkpoint, &self.options).map_err(thrown)?).to_string())
    }

    /// JSON: `{ scheme, bytes, error }` of the best that has at most `bytes` bytes.
    pub fn choose(&self, bytes: f64) -> Result<String> {
        Ok(json!(self.fit.choose(&self.checkpoint, &self.options, bytes as u64).map_err(thrown)?).to_string())
    }
}

/// An importance matrix; see [`imatrix::Importance`].
#[wasm_bindgen]
#[derive(Clone)]
pub struct Importance(Arc<imatrix::Importance>);

#[wasm_bindgen]
impl Importance {
    pub fn read(file: &str, bytes: &[u8]) -> Result<Importance> {
        Ok(Self(Arc::new(imatrix::Importance::read(file, bytes).map_err(thrown)?)))
    }

    /// How many matrices it knows of.
    pub fn count(&self) -> usize {
        self.0.entries().len()
    }

    /// Another handle on the same matrix: [`Checkpoint::plan`] takes one away.
    pub fn share(&self) -> Importance {
        self.clone()
    }
}

/// A conversion, wholly decided.
#[wasm_bindgen]
pub struct Plan(pipeline::Plan);

#[wasm_bindgen]
impl Plan {
    /// JSON: `{ files: [{ name, bytes }], bytes, notices }`.
    pub fn sizes(&self) -> String {
        let files: Vec<_> = self.0.files.iter().map(|file| json!({ "name": file.name, "bytes": file.bytes })).collect();
        let bytes: u64 = self.0.files.iter().map(|file| file.bytes).sum();
        json!({ "files": files, "bytes": bytes, "notices": self.0.notices }).to_string()
    }

    /// JSON: the tasks, in the order of their sources.
    pub fn tasks(&self) -> String {
        let task = |task: &pipeline::Task| {
            // Sizes were checked when the plan was made.
            let out_bytes = task.to.row_bytes(task.cols).unwrap_or(0) * task.rows;
            json!({
                "tensor": task.tensor,
                "output": task.output,
                "sourceFile": task.source_file,
                "start": task.source.start,
                "end": task.source.end,
                "from": task.from.name,
                "to": task.to.name,
                "rows": task.rows,
                "cols": task.cols,
                "shape": if task.rows == 1 { vec![task.cols] } else { vec![task.rows, task.cols] },
                "file": task.file,
                "offset": task.offset,
                "outBytes": out_bytes,
                "weighed": task.importance.is_some(),
            })
        };
        json!(self.0.tasks.iter().map(task).collect::<Vec<_>>()).to_string()
    }

    /// The importance of each column of a task's rows, where it has any.
    pub fn importance(&self, task: usize) -> Option<Vec<f32>> {
        self.0.tasks[task].importance.as_deref().map(<[f32]>::to_vec)
    }

    pub fn literals(&self) -> usize {
        self.0.literals.len()
    }

    /// `{ file, offset, bytes }`.
    pub fn literal(&self, index: usize) -> JsValue {
        let literal = &self.0.literals[index];
        object(&[
            ("file", literal.file.into()),
            ("offset", (literal.offset as f64).into()),
            ("bytes", Uint8Array::from(&literal.bytes[..]).into()),
        ])
    }
}

/// Copies the result to `into`, whose memory the caller uses again and again, and gives the figures:
/// `[weights, Σ error², Σ weight², largest error]`.
fn converted(out: &[u8], sums: ErrorSums, into: &Uint8Array) -> Result<Array> {
    if into.length() as usize != out.len() {
        return Err(bad_option(&format!("{} bytes are no room for {}", into.length(), out.len())));
    }
    into.copy_from(out);
    let figures = [sums.weights as f64, sums.squared, sums.original_squared, f64::from(sums.max)];
    Ok(figures.into_iter().map(JsValue::from_f64).collect())
}

/// Room for the converted rows. Fails with `BadOption` where `source` is no whole rows.
fn room(from: DType, to: DType, cols: usize, source: usize) -> Result<Vec<u8>> {
    let row = |dtype: DType| dtype.row_bytes(cols as u64).filter(|&bytes| bytes > 0).map(|bytes| bytes as usize);
    match (row(from), row(to)) {
        (Some(row), Some(out)) if source.is_multiple_of(row) => Ok(vec![0; source / row * out]),
        _ => Err(bad_option(&format!("{source} bytes are no whole rows of {cols} {}", from.name))),
    }
}

/// Converts whole rows on the CPU; see [`pipeline::convert_weighed`].
#[wasm_bindgen]
pub fn convert(
    from: &str,
    to: &str,
    cols: usize,
    source: &[u8],
    importance: Option<Vec<f32>>,
    into: &Uint8Array,
) -> Result<Array> {
    let (from, to) = (dtype(from)?, dtype(to)?);
    let mut out = room(from, to, cols, source.len())?;
    let sums = pipeline::convert_weighed(Kernels::best(), from, to, cols, importance.as_deref(), source, &mut out)
        .map_err(thrown)?;
    converted(&out, sums, into)
}

/// Converts whole rows on the GPU; see [`gpu::GpuQuantizer`].
#[wasm_bindgen]
pub struct GpuQuantizer(Rc<gpu::GpuQuantizer>);

#[wasm_bindgen]
impl GpuQuantizer {
    pub async fn create(any_adapter: bool) -> Result<GpuQuantizer> {
        Ok(Self(Rc::new(gpu::GpuQuantizer::new(any_adapter).await.map_err(thrown)?)))
    }

    /// JSON: `{ vendor, name, fallback }`.
    pub fn info(&self) -> String {
        let info = self.0.info();
        json!({ "vendor": info.vendor, "name": info.name, "fallback": info.fallback }).to_string()
    }

    /// `pairs`: JSON, `[[from, to], …]`.
    #[wasm_bindgen(js_name = selfCheck)]
    pub async fn self_check(&self, pairs: String) -> Result<()> {
        let gpu = self.0.clone();
        let names: Vec<(String, String)> = parse("the types to check", &pairs)?;
        let pairs: Result<Vec<_>> = names.iter().map(|(from, to)| Ok((dtype(from)?, dtype(to)?))).collect();
        gpu.self_check(&pairs?).await.map_err(thrown)
    }

    pub fn supports(&self, from: &str, to: &str) -> Result<bool> {
        Ok(self.0.supports(dtype(from)?, dtype(to)?))
    }

    pub async fn convert(
        &self,
        from: String,
        to: String,
        cols: usize,
        source: Vec<u8>,
        into: Uint8Array,
    ) -> Result<Array> {
        let gpu = self.0.clone();
        let (from, to) = (dtype(&from)?, dtype(&to)?);
        let mut out = room(from, to, cols, source.len())?;
        let sums = gpu.convert(from, to, cols, &source, &mut out).await.map_err(thrown)?;
        converted(&out, sums, &into)
    }
}

/// sha256 of bytes that come in pieces.
#[wasm_bindgen]
pub struct Sha256(sha2::Sha256);

#[wasm_bindgen]
impl Sha256 {
    #[wasm_bindgen(constructor)]
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        Self(sha2::Sha256::new())
    }

    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Lower-case hexadecimal; the state begins anew.
    pub fn digest(&mut self) -> String {
        self.0.finalize_reset().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}
