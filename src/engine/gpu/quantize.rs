//! Quantization on the GPU: the bytes of the scalar definitions (`src/quant/*/scalar.rs`), and the error's sums with them.
//!
//! A call goes through in pieces, two of them in flight: while the GPU works on one, the next is written and the one
//! before is read back. Of each piece a sample of blocks is quantized on the CPU too, and must agree. A workgroup that a
//! shader leaves to the CPU, because its numbers are too small or too large for sums in f32, is made there.

mod check;

use super::device::{Gpu, Info};
use super::params;
use super::shader::{Pipelines, bind};
use crate::error::{Error, ErrorKind, Result};
use crate::num;
use crate::pipeline::{self, ErrorSums};
use crate::quant::{self, Kernels};
use crate::tensor::DType;
use check::{agree, check_sample, mismatch, probe, probe_search};
use std::cell::RefCell;
use std::collections::VecDeque;
use wgpu::BufferUsages as Usage;

/// Weights of a piece: 4 to 8 MiB of source.
const PIECE: usize = 1 << 21;
/// Weights of one workgroup: 64 threads × 64. Whole words of output in every scheme.
const WORKGROUP: usize = 4096;
/// Bytes of a workgroup's sums: `Sums` in shaders/shared/quant.wgsl.
const SUMS: usize = 16;
/// Its `faults` where the CPU is to make the workgroup's blocks.
const ASK: u32 = 2;

/// How far a shader's bytes are to be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Law {
    /// They are the scalar definition's.
    Exact,
    /// The scheme searches in f32, where devices differ a little: of two grids that are equally good one may find the
    /// other.
    Searched,
}

use Law::{Exact, Searched};

/// A scheme that has a shader: `(dtype's name, family, law)`.
const TARGETS: &[(&str, &str, Law)] = &[
    ("F32", "quant/f32", Exact),
    ("F16", "quant/f16", Exact),
    ("BF16", "quant/bf16", Exact),
    ("Q8_0", "quant/q8_0", Exact),
    ("Q4_0", "quant/q4_0", Exact),
    ("Q4_1", "quant/q4_1", Exact),
    ("Q5_0", "quant/q5_0", Exact),
    ("Q5_1", "quant/q5_1", Exact),
    ("IQ4_NL", "quant/iq4_nl", Searched),
    ("IQ4_XS", "quant/iq4_xs", Searched),
    ("TQ1_0", "quant/tq1_0", Exact),
    ("TQ2_0", "quant/tq2_0", Exact),
    ("MXFP4", "quant/mxfp4", Exact),
    ("Q2_K", "quant/q2_k", Searched),
    ("Q3_K", "quant/q3_k", Searched),
    ("Q4_K", "quant/q4_k", Searched),
    ("Q5_K", "quant/q5_k", Searched),
    ("Q6_K", "quant/q6_k", Searched),
];

/// Types that a shader reads: `(dtype's name, variant)`.
const SOURCES: &[(&str, &str)] = &[("F32", "f32"), ("F16", "f16"), ("BF16", "bf16")];

fn source(dtype: DType) -> Option<&'static str> {
    SOURCES.iter().find(|(name, _)| *name == dtype.name).map(|(_, variant)| *variant)
}

fn target(dtype: DType) -> Option<(&'static str, Law)> {
    TARGETS.iter().find(|(name, ..)| *name == dtype.name).map(|(_, family, law)| (*family, *law))
}

/// A GPU that quantizes.
pub struct GpuQuantizer {
    gpu: Gpu,
    pipelines: Pipelines,
    /// Idle buffers; a call takes what it needs and puts it back.
    slots: RefCell<Vec<Slot>>,
}

/// Buffers of one piece in flight.
struct Slot {
    params: wgpu::Buffer,
    source: wgpu::Buffer,
    output: wgpu::Buffer,
    sums: wgpu::Buffer,
    /// Output, then sums, for reading back.
    staging: wgpu::Buffer,
    capacity: usize,
}

/// A piece that the GPU works on.
struct Flight<'a> {
    slot: Slot,
    mapping: super::device::Mapping<'a>,
    source: &'a [u8],
    out: &'a mut [u8],
    /// Weights before it, for messages.
    start: usize,
}

impl GpuQuantizer {
    /// `any_adapter`: a software adapter will do too. Fails with `NoDevice`.
    pub async fn new(any_adapter: bool) -> Result<Self> {
        let gpu = Gpu::request(any_adapter).await?;
        Ok(Self { gpu, pipelines: Pipelines::default(), slots: RefCell::default() })
    }

    pub fn info(&self) -> &Info {
        &self.gpu.info
    }

    /// Loses the device on purpose, for tests of what happens then.
    pub fn lose(&self) {
        self.gpu.lose();
    }

    pub fn supports(&self, from: DType, to: DType) -> bool {
        source(from).is_some() && target(to).is_some()
    }

    /// Quantizes a few known rows from and to the types of a plan and compares the result with the CPU's. Fails with
    /// `DeviceMismatch`: the adapter is not to be trusted. Pairs without a shader are the CPU's, and no other is compiled.
    pub async fn self_check(&self, pairs: &[(DType, DType)]) -> Result<()> {
        let mut done: Vec<(DType, DType)> = Vec::new();
        for &(from, to) in pairs {
            if done.contains(&(from, to)) || !self.supports(from, to) {
                continue;
            }
            let searched = target(to).is_some_and(|(_, law)| law == Searched);
            let weights = if searched { probe_search() } else { probe() };
            let source = encode(&weights, from);
            let rows = decode(&source, from);
            let mut expected = vec![0; bytes(to, rows.len())];
            scheme(to.name)?.quantize(Kernels::best(), &rows, rows.len(), None, &mut [&mut expected])?;
            let mut out = vec![0; expected.len()];
            self.convert(from, to, rows.len(), &source, &mut out).await?;
            if !agree(to, &rows, &expected, &out) {
                return Err(mismatch(from, to, 0));
            }
            done.push((from, to));
        }
        Ok(())
    }

    /// Converts whole rows as [`pipeline::convert`] does: `source` holds n·cols weights of `from`, `out` is exactly n rows
    /// of `to`. A sample of the blocks is recomputed on the CPU: fails with `DeviceMismatch` where it differs (in schemes
    /// that search for a scale: where its error is a quarter larger), with
    /// `DeviceLost`, with `Unsupported` for types without a shader, and as the CPU does with `NotFinite`. On an error the
    /// content of `out` is unspecified.
    pub async fn convert(
        &self,
        from: DType,
        to: DType,
        cols: usize,
        source: &[u8],
        out: &mut [u8],
    ) -> Result<ErrorSums> {
        let (Some(variant), Some((family, _))) = (self::source(from), target(to)) else {
            let message = format!("the GPU has no shader from {} to {}; the CPU can take over", from.name, to.name);
            return Err(Error::new(ErrorKind::Unsupported, message));
        };
        let weights = source.len() / from.group_bytes;
        assert_eq!(weights * from.group_bytes, source.len(), "whole weights of {}", from.name);
        assert!(cols > 0 && cols.is_multiple_of(to.group) && weights.is_multiple_of(cols), "whole rows of {cols}");
        assert_eq!(bytes(to, weights), out.len(), "room for {weights} weights of {}", to.name);

        if let Some(sums) = self.fly(from, to, (family, variant), source, out).await? {
            return Ok(sums);
        }
        // NaN, infinity or overflow: the CPU says where, in its own words.
        scheme(to.name)?.quantize(Kernels::best(), &decode(source, from), cols, None, &mut [out])?;
        Err(Error::new(
            ErrorKind::DeviceMismatch,
            "the GPU took finite weights for infinite ones; take the simd backend",
        ))
    }

    /// Piece by piece, two in flight. `None` where a shader met a weight that its scheme cannot take.
    async fn fly(
        &self,
        from: DType,
        to: DType,
        shader: (&'static str, &'static str),
        source: &[u8],
        out: &mut [u8],
    ) -> Result<Option<ErrorSums>> {
        let mut pieces = source.chunks(PIECE * from.group_bytes).zip(out.chunks_mut(bytes(to, PIECE)));
        let mut total = ErrorSums::default();
        let mut flights = VecDeque::new();
        let mut start = 0;
        loop {
            self.gpu.check()?;
            if let Some((source, out)) = pieces.next() {
                let count = source.len() / from.group_bytes;
                flights.push_back(self.launch(shader, start, count, source, out));
                start += count;
                if flights.len() == 1 {
                    continue;
                }
            }
            let Some(flight) = flights.pop_front() else { return Ok(Some(total)) };
            let Some(sums) = self.land(from, to, flight).await? else { return Ok(None) };
            total.weights += sums.weights;
            total.squared += sums.squared;
            total.original_squared += sums.original_squared;
            total.max = total.max.max(sums.max);
        }
    }

    /// Writes a piece, submits it, and asks for the result.
    fn launch<'a>(
        &'a self,
        (family, variant): (&'static str, &'static str),
        start: usize,
        count: usize,
        source: &'a [u8],
        out: &'a mut [u8],
    ) -> Flight<'a> {
        let slot = self.slot(count);
        let queue = &self.gpu.queue;
        queue.write_buffer(&slot.params, 0, bytemuck::bytes_of(&params::Quantize { count: count as u32 }));
        write(queue, &slot.source, source);
        let pipeline = self.pipelines.get(&self.gpu, family, variant);
        let group = bind(&self.gpu, &pipeline, &slot.params, &[&slot.source, &slot.output, &slot.sums]);
        let workgroups = count.div_ceil(WORKGROUP);
        let mut encoder = self.gpu.device.create_command_encoder(&Default::default());
        {
            let mut pass = encoder.begin_compute_pass(&Default::default());
            pass.set_pipeline(&pipeline.pipeline);
            pass.set_bind_group(0, &group, &[0]);
            pass.dispatch_workgroups(workgroups as u32, 1, 1);
        }
        let words = out.len().next_multiple_of(4) as u64;
        let sums = (workgroups * SUMS) as u64;
        encoder.copy_buffer_to_buffer(&slot.output, 0, &slot.staging, 0, words);
        encoder.copy_buffer_to_buffer(&slot.sums, 0, &slot.staging, words, sums);
        let after = queue.submit([encoder.finish()]);
        let mapping = self.gpu.map(&slot.staging, words + sums, after);
        Flight { slot, mapping, source, out, start }
    }

    /// Waits for a piece and checks it; its error, or `None` where the shader met a fault.
    async fn land(&self, from: DType, to: DType, flight: Flight<'_>) -> Result<Option<ErrorSums>> {
        let Flight { slot, mapping, source, out, start } = flight;
        let weights = source.len() / from.group_bytes;
        let mut padding = [0; 3];
        let padding = &mut padding[..out.len().next_multiple_of(4) - out.len()];
        let mut sums = vec![0; weights.div_ceil(WORKGROUP) * SUMS];
        mapping.copy(&mut [&mut *out, padding, &mut sums]).await?;
        self.slots.borrow_mut().push(slot);
        let Some((mut total, asked)) = add_up(&sums) else { return Ok(None) };
        for workgroup in asked {
            let first = workgroup * WORKGROUP;
            let last = (first + WORKGROUP).min(weights);
            let source = &source[first * from.group_bytes..last * from.group_bytes];
            let out = &mut out[bytes(to, first)..bytes(to, last)];
            let Ok(sums) = pipeline::convert(Kernels::best(), from, to, last - first, source, out) else {
                return Ok(None);
            };
            total += sums;
        }
        total.weights = weights as u64;
        check_sample(from, to, start, source, out)?;
        Ok(Some(total))
    }

    /// Buffers for `count` weights: idle ones that are large enough, or new ones.
    fn slot(&self, count: usize) -> Slot {
        let mut slots = self.slots.borrow_mut();
        if let Some(index) = slots.iter().position(|slot| slot.capacity >= count) {
            return slots.swap_remove(index);
        }
        slots.pop(); // too small to be of use again
        let capacity = count.next_multiple_of(WORKGROUP);
        let words = 4 * capacity as u64;
        let sums = (capacity / WORKGROUP * SUMS) as u64;
        let make = |label, bytes, usage| self.gpu.create_buffer(label, bytes, usage);
        Slot {
            params: make("params", params::BYTES, Usage::UNIFORM | Usage::COPY_DST),
            source: make("source", words, Usage::STORAGE | Usage::COPY_DST),
            output: make("output", words, Usage::STORAGE | Usage::COPY_SRC),
            sums: make("sums", sums, Usage::STORAGE | Usage::COPY_SRC),
            staging: make("staging", words + sums, Usage::MAP_READ | Usage::COPY_DST),
            capacity,
        }
    }
}

/// Writes bytes whose number need not be a multiple of 4.
fn write(queue: &wgpu::Queue, buffer: &wgpu::Buffer, bytes: &[u8]) {
    let whole = bytes.len() / 4 * 4;
    queue.write_buffer(buffer, 0, &bytes[..whole]);
    if whole < bytes.len() {
        let mut word = [0; 4];
        word[..bytes.len() - whole].copy_from_slice(&bytes[whole..]);
        queue.write_buffer(buffer, whole as u64, &word);
    }
}

/// The workgroups' sums together, and the numbers of those that are left to the CPU; `None` where any met a fault.
fn add_up(sums: &[u8]) -> Option<(ErrorSums, Vec<usize>)> {
    let mut total = ErrorSums::default();
    let mut asked = Vec::new();
    for (index, workgroup) in sums.chunks_exact(SUMS).enumerate() {
        let word = |i: usize| u32::from_le_bytes([0, 1, 2, 3].map(|byte| workgroup[4 * i + byte]));
        match word(3) {
            0 => {
                total.squared += f64::from(f32::from_bits(word(0)));
                total.original_squared += f64::from(f32::from_bits(word(1)));
                total.max = total.max.max(f32::from_bits(word(2)));
            }
            ASK => asked.push(index),
            _ => return None,
        }
    }
    Some((total, asked))
}

fn scheme(name: &str) -> Result<&'static dyn quant::Scheme> {
    quant::by_name(name).ok_or_else(|| Error::new(ErrorKind::Internal, format!("there is no scheme {name}")))
}

/// Bytes of `weights` weights.
fn bytes(dtype: DType, weights: usize) -> usize {
    weights / dtype.group * dtype.group_bytes
}

/// Weights of one of the source types as f32.
fn decode(bytes: &[u8], dtype: DType) -> Vec<f32> {
    let halves = bytes.as_chunks().0.iter().map(|half| u16::from_le_bytes(*half));
    match dtype.name {
        "F16" => halves.map(num::f16_to_f32).collect(),
        "BF16" => halves.map(num::bf16_to_f32).collect(),
        _ => bytes.as_chunks().0.iter().map(|word| f32::from_le_bytes(*word)).collect(),
    }
}

/// The other way, rounding.
fn encode(weights: &[f32], dtype: DType) -> Vec<u8> {
    match dtype.name {
        "F16" => weights.iter().flat_map(|w| num::f32_to_f16(*w).to_le_bytes()).collect(),
        "BF16" => weights.iter().flat_map(|w| num::f32_to_bf16(*w).to_le_bytes()).collect(),
        _ => weights.iter().flat_map(|w| w.to_le_bytes()).collect(),
    }
}
