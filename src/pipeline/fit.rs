//! A size to stay under: the mix whose file fits and whose error is the least.
//!
//! The method. Of every kind of matrix (embedding, output, values, gate and up, down …), in the first, the middle and the last
//! third of the layers, some rows are read and converted to every scheme; a scheme's error on them is the squared error divided
//! by the weights' squares. A mix's error is the mean of its matrices' errors, each counted by its weights. Sizes are not
//! predicted: each mix is planned, with all other options, and the plan says its bytes.

use super::{Options, convert, plan};
use crate::bail;
use crate::checkpoint::Checkpoint;
use crate::error::{Error, ErrorKind, Result};
use crate::formats::gguf::mix::{self, Matrix};
use crate::quant::{self, Kernels};
use crate::tensor::DType;
use std::ops::Range;

/// Weights of a sample, about.
const WEIGHTS: u64 = 1 << 16;

/// Rows that are read to measure schemes on.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// The weight file (index into [`Checkpoint::files`]) and the bytes in it.
    pub file: usize,
    pub span: Range<u64>,
    place: Place,
    from: DType,
    cols: usize,
}

/// A kind of matrix in a third of the layers.
type Place = (Matrix, usize);

/// A mix, what it takes and what it costs.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Candidate {
    pub scheme: &'static str,
    /// Of all files.
    pub bytes: u64,
    /// Mean relative squared error of a weight, as predicted from the samples.
    pub error: f64,
}

/// Samples on their way to a choice.
pub struct Fit {
    samples: Vec<Sample>,
    /// By sample and scheme.
    measured: Vec<Vec<(&'static str, f64)>>,
    layers: usize,
}

fn place(output: &str, layers: usize) -> Place {
    let layer = output.strip_prefix("blk.").and_then(|rest| rest.split_once('.')?.0.parse::<usize>().ok());
    (Matrix::of(output), layer.map_or(0, |layer| 3 * layer / layers.max(1)))
}

impl Fit {
    /// What to read. Fails as [`plan`] does.
    pub fn new(checkpoint: &Checkpoint, options: &Options) -> Result<Self> {
        let layers = checkpoint.config.layers;
        // Which tensors there are does not depend on the mix.
        let any = plan(checkpoint, &Options { scheme: "Q8_0".into(), split_bytes: None, ..options.clone() })?;
        let mut samples: Vec<Sample> = Vec::new();
        for task in any.tasks.iter().filter(|task| task.rows > 1 && task.to.name != "F32") {
            let place = place(&task.output, layers);
            if samples.iter().any(|sample| sample.place == place) {
                continue;
            }
            let row_bytes = (task.source.end - task.source.start) / task.rows;
            let rows = (WEIGHTS / task.cols).clamp(1, task.rows);
            let start = task.source.start + (task.rows - rows) / 2 * row_bytes;
            let span = start..start + rows * row_bytes;
            samples.push(Sample { file: task.source_file, span, place, from: task.from, cols: task.cols as usize });
        }
        Ok(Self { measured: vec![Vec::new(); samples.len()], samples, layers })
    }

    /// In the order of their place in the files.
    pub fn samples(&self) -> &[Sample] {
        &self.samples
    }

    /// Takes a sample's bytes and measures every scheme on them. Fails with `NotFinite`.
    pub fn put(&mut self, index: usize, bytes: &[u8]) -> Result<()> {
        let Sample { from, cols, span, .. } = &self.samples[index];
        if bytes.len() as u64 != span.end - span.start {
            bail!(Internal, "{} bytes for a sample of {}", bytes.len(), span.end - span.start);
        }
        let mut errors = Vec::new();
        for spec in quant::SCHEMES.iter().map(|scheme| scheme.spec()).filter(|spec| spec.ggml_type.is_some()) {
            let (to, rows) = (spec.dtype, bytes.len() as u64 / from.row_bytes(*cols as u64).unwrap_or(1).max(1));
            let Some(row) = to.row_bytes(*cols as u64) else { continue };
            let mut out = vec![0; (row * rows) as usize];
            match convert(Kernels::best(), *from, to, *cols, bytes, &mut out) {
                Ok(sums) if sums.original_squared > 0.0 => {
                    errors.push((to.name, sums.squared / sums.original_squared));
                }
                Ok(_) => errors.push((to.name, 0.0)),
                // F16 does not hold every weight.
                Err(error) if error.kind == ErrorKind::NotFinite && to.name != "F32" => {}
                Err(error) => return Err(error),
            }
        }
        self.measured[index] = errors;
        Ok(())
    }

    /// Every mix that there is, the one with the least error first; of two with the same, the smaller.
    pub fn candidates(&self, checkpoint: &Checkpoint, options: &Options) -> Result<Vec<Candidate>> {
        let mut candidates = Vec::new();
        for mix in mix::available() {
            let plan = match plan(checkpoint, &Options { scheme: mix.name.into(), ..options.clone() }) {
                Err(error) if error.kind == ErrorKind::NeedsImportance => continue,
                plan => plan?,
            };
            let (mut weights, mut sum) = (0.0, 0.0);
            for task in plan.tasks.iter().filter(|task| task.rows > 1) {
                let count = (task.rows * task.cols) as f64;
                weights += count;
                if task.from != task.to {
                    sum += count * self.error(place(&task.output, self.layers), task.to.name);
                }
            }
            let bytes = plan.files.iter().map(|file| file.bytes).sum();
            candidates.push(Candidate { scheme: mix.name, bytes, error: sum / f64::max(weights, 1.0) });
        }
        candidates.sort_by(|a, b| a.error.total_cmp(&b.error).then(a.bytes.cmp(&b.bytes)));
        Ok(candidates)
    }

    /// The best mix of at most `most` bytes. Fails with `TargetTooSmall`.
    pub fn choose(&self, checkpoint: &Checkpoint, options: &Options, most: u64) -> Result<Candidate> {
        let candidates = self.candidates(checkpoint, options)?;
        if let Some(best) = candidates.iter().find(|candidate| candidate.bytes <= most) {
            return Ok(best.clone());
        }
        let smallest = candidates.iter().min_by_key(|candidate| candidate.bytes);
        let smallest =
            smallest.map_or(String::new(), |c| format!(": the smallest is {} with {} bytes", c.scheme, c.bytes));
        Err(Error::new(ErrorKind::TargetTooSmall, format!("no mix makes a file of at most {most} bytes{smallest}")))
    }

    /// A scheme's error on matrices of that place; where it was not measured there, the worst that it has elsewhere.
    fn error(&self, place: Place, scheme: &str) -> f64 {
        let of = |measured: &[(&str, f64)]| measured.iter().find(|(name, _)| *name == scheme).map(|(_, error)| *error);
        let here = self.samples.iter().position(|sample| sample.place == place);
        here.and_then(|i| of(&self.measured[i]))
            .or_else(|| self.measured.iter().filter_map(|measured| of(measured)).reduce(f64::max))
            .unwrap_or(1.0)
    }
}
