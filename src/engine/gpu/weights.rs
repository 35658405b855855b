//! Weights on the device. WebGPU reads storage in aligned 32-bit words, and a binding has a limit: so blocks are split
//! into words of quants and 16-bit scales, and a large matrix into parts of whole rows.

use super::record::{Memory, Recorder};
use crate::bail;
use crate::engine::levels::{self, Levels, Parts};
use crate::error::Result;
use crate::tensor::DType;

/// A block of a file to words of quants and to scales; the parts are room for it.
type Split = fn(&[u8], &mut Parts, &mut Vec<u32>, &mut Vec<u16>);

/// How a type's groups become words.
struct Layout {
    name: &'static str,
    /// Its file under shaders/unpack/.
    shader: &'static str,
    /// Weights, words of quants, and scales of a group.
    group: usize,
    words: usize,
    scales: usize,
    /// `None` for types that are words already.
    split: Option<Split>,
}

/// Types without blocks go by the eight weights that a shader unpacks at once.
const fn words(name: &'static str, shader: &'static str, words: usize) -> Layout {
    Layout { name, shader, group: 8, words, scales: 0, split: None }
}

/// Types of levels: planes of bits, which [`split`] makes.
const fn levels<T: Levels>(name: &'static str, shader: &'static str) -> Layout {
    let spec = T::SPEC;
    let each = 1 + spec.mins as usize;
    let words = spec.cols * spec.bits as usize / 32 + spec.factors() * each / 4;
    Layout { name, shader, group: spec.cols, words, scales: each, split: Some(split::<T>) }
}

static LAYOUTS: &[Layout] = &[
    words("F32", "f32", 8),
    words("F16", "f16", 4),
    words("BF16", "bf16", 4),
    levels::<levels::Q4_0>("Q4_0", "q4_0"),
    levels::<levels::Q4_1>("Q4_1", "q4_1"),
    levels::<levels::Q5_0>("Q5_0", "q5_0"),
    levels::<levels::Q5_1>("Q5_1", "q5_1"),
    levels::<levels::Q8_0>("Q8_0", "q8_0"),
    levels::<levels::Q2K>("Q2_K", "q2_k"),
    levels::<levels::Q3K>("Q3_K", "q3_k"),
    levels::<levels::Q4K>("Q4_K", "q4_k"),
    levels::<levels::Q5K>("Q5_K", "q5_k"),
    levels::<levels::Q6K>("Q6_K", "q6_k"),
    levels::<levels::Iq4Nl>("IQ4_NL", "iq4_nl"),
    levels::<levels::Iq4Xs>("IQ4_XS", "iq4_xs"),
    levels::<levels::Tq1_0>("TQ1_0", "tq2_0"),
    levels::<levels::Tq2_0>("TQ2_0", "tq2_0"),
    levels::<levels::Mxfp4>("MXFP4", "mxfp4"),
];

/// Bytes that are repacked at a time.
const SLAB: usize = 1 << 20;

/// `[rows, cols]` weights of one type.
pub struct Matrix {
    layout: &'static Layout,
    dtype: DType,
    pub(super) rows: usize,
    pub(super) cols: usize,
    /// Rows of one matrix, where this is a stack of several.
    pub(super) each: usize,
    pub(super) parts: Vec<Part>,
}

/// Whole rows, as many as a binding takes.
pub(super) struct Part {
    pub first_row: usize,
    pub rows: usize,
    pub quants: Memory,
    pub scales: Memory,
}

impl Matrix {
    /// `max_bytes`: what a part may have at most.
    pub(super) fn new(recorder: &Recorder, max_bytes: u64, dtype: DType, rows: usize, cols: usize) -> Result<Self> {
        let Some(layout) = LAYOUTS.iter().find(|layout| layout.name == dtype.name) else {
            bail!(Unsupported, "the GPU has no kernel for {} weights; the CPU can take over", dtype.name);
        };
        if !cols.is_multiple_of(layout.group) {
            bail!(
                Unsupported,
                "the GPU's kernel for {} takes rows of whole groups of {}, not of {cols} weights; the CPU can take over",
                dtype.name,
                layout.group
            );
        }
        let mut matrix = Self { layout, dtype, rows, cols, each: rows, parts: Vec::new() };
        let row_bytes = 4 * matrix.row_words() as u64;
        let most = usize::try_from(max_bytes / row_bytes.max(1)).unwrap_or(usize::MAX).min(1 << 17);
        if most == 0 {
            bail!(Unsupported, "a row of {cols} {} weights is more than this GPU binds at once", dtype.name);
        }
        let mut first_row = 0;
        while first_row < rows {
            let count = most.min(rows - first_row);
            matrix.parts.push(Part {
                first_row,
                rows: count,
                quants: recorder.memory("quants", row_bytes * count as u64),
                scales: recorder.memory("scales", 2 * (matrix.scale_stride() * count) as u64),
            });
            first_row += count;
        }
        Ok(matrix)
    }

    /// The variant of the matrix shaders.
    pub(super) fn shader(&self) -> &'static str {
        self.layout.shader
    }

    /// Chunks of eight weights in a row.
    pub(super) fn chunks(&self) -> u32 {
        (self.cols / 8) as u32
    }

    /// Scales from one row to the next: rounded up to whole words.
    pub(super) fn scale_stride(&self) -> usize {
        (self.cols / self.layout.group * self.layout.scales).next_multiple_of(2)
    }

    fn row_words(&self) -> usize {
        self.cols / self.layout.group * self.layout.words
    }

    /// Writes whole rows, as they stand in a file, from row `row` on.
    pub(super) fn fill(&mut self, queue: &wgpu::Queue, row: usize, bytes: &[u8]) {
        let row_bytes = self.cols / self.dtype.group * self.dtype.group_bytes;
        let count = bytes.len() / row_bytes;
        assert_eq!(count * row_bytes, bytes.len(), "whole rows of {row_bytes} bytes");
        assert!(row + count <= self.rows, "rows {row} to {} of {}", row + count, self.rows);
        let slab_rows = (SLAB / row_bytes).max(1);
        for part in &self.parts {
            let mut at = row.max(part.first_row);
            let end = (row + count).min(part.first_row + part.rows);
            while at < end {
                let next = (at + slab_rows).min(end);
                let rows = &bytes[(at - row) * row_bytes..(next - row) * row_bytes];
                self.write(queue, part, at - part.first_row, rows, row_bytes);
                at = next;
            }
        }
    }

    fn write(&self, queue: &wgpu::Queue, part: &Part, row: usize, bytes: &[u8], row_bytes: usize) {
        let quants_at = 4 * (row * self.row_words()) as u64;
        let Some(split) = self.layout.split else {
            return queue.write_buffer(&part.quants.raw, quants_at, bytes);
        };
        let stride = self.scale_stride();
        let rows = bytes.len() / row_bytes;
        let mut quants = Vec::with_capacity(rows * self.row_words());
        let mut scales = Vec::with_capacity(rows * stride);
        let mut parts = Parts::NEW;
        for (i, row) in bytes.chunks_exact(row_bytes).enumerate() {
            for group in row.chunks_exact(self.dtype.group_bytes) {
                split(group, &mut parts, &mut quants, &mut scales);
            }
            scales.resize((i + 1) * stride, 0);
        }
        queue.write_buffer(&part.quants.raw, quants_at, bytemuck::cast_slice(&quants));
        queue.write_buffer(&part.scales.raw, 2 * (row * stride) as u64, bytemuck::cast_slice(&scales));
    }
}

/// Levels, a plane of four (two, eight) bits each before one of the bits above; then the sub-blocks' factors, a byte each.
fn split<T: Levels>(block: &[u8], parts: &mut Parts, quants: &mut Vec<u32>, scales: &mut Vec<u16>) {
    let spec = const { T::SPEC };
    T::split(block, parts);
    scales.push(parts.scale);
    if spec.mins {
        scales.push(parts.min);
    }
    let lower = 1 << spec.bits.ilog2();
    for (shift, bits) in [(0, lower), (lower, spec.bits - lower)] {
        if bits > 0 {
            pack(&parts.levels[..spec.cols], shift, bits, quants);
        }
    }
    let mut bytes = |bytes: &[u8]| quants.extend(bytes.as_chunks().0.iter().map(|word| u32::from_le_bytes(*word)));
    bytes(bytemuck::cast_slice(&parts.subs[..spec.factors()]));
    if spec.mins {
        bytes(&parts.mins[..spec.factors()]);
    }
}

/// `bits` bits of each level, from bit `shift` on; the first level lowest.
fn pack(levels: &[u8], shift: u32, bits: u32, quants: &mut Vec<u32>) {
    for levels in levels.chunks_exact(32 / bits as usize) {
        let mask = (1 << bits) - 1;
        quants.push(levels.iter().rev().fold(0, |word, level| word << bits | u32::from(level >> shift) & mask));
    }
}
