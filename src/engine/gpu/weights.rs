//! Weights on the device. WebGPU reads storage in aligned 32-bit words, and a binding has a limit: so blocks are split
//! into a plane of quants and one of scales, and a large matrix into parts of whole rows.

use super::record::{Memory, Recorder};
use crate::bail;
use crate::error::Result;
use crate::tensor::DType;

/// A group of a file to words of quants and an f16 scale.
type Split = fn(&[u8], &mut Vec<u32>, &mut Vec<u16>);

/// How a type's groups become words.
struct Layout {
    name: &'static str,
    /// Its file under shaders/unpack/.
    shader: &'static str,
    /// Weights, and words of quants, of a group.
    group: usize,
    words: usize,
    /// Splits a group into quants and an f16 scale; `None` for types that are words already.
    split: Option<Split>,
}

/// Types without blocks go by the eight weights that a shader unpacks at once.
static LAYOUTS: &[Layout] = &[
    Layout { name: "F32", shader: "f32", group: 8, words: 8, split: None },
    Layout { name: "F16", shader: "f16", group: 8, words: 4, split: None },
    Layout { name: "BF16", shader: "bf16", group: 8, words: 4, split: None },
    Layout { name: "Q8_0", shader: "q8_0", group: 32, words: 8, split: Some(split_q8_0) },
    Layout { name: "Q4_0", shader: "q4_0", group: 32, words: 4, split: Some(split_q4_0) },
    Layout { name: "Q6_K", shader: "q6_k", group: 256, words: 52, split: Some(split_q6_k) },
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
        if self.layout.split.is_some() { (self.cols / self.layout.group).next_multiple_of(2) } else { 0 }
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
        for (i, row) in bytes.chunks_exact(row_bytes).enumerate() {
            for group in row.chunks_exact(self.dtype.group_bytes) {
                split(group, &mut quants, &mut scales);
            }
            scales.resize((i + 1) * stride, 0);
        }
        queue.write_buffer(&part.quants.raw, quants_at, bytemuck::cast_slice(&quants));
        queue.write_buffer(&part.scales.raw, 2 * (row * stride) as u64, bytemuck::cast_slice(&scales));
    }
}

fn split_q8_0(block: &[u8], quants: &mut Vec<u32>, scales: &mut Vec<u16>) {
    scales.push(u16::from_le_bytes([block[0], block[1]]));
    quants.extend(block[2..].as_chunks().0.iter().map(|word| u32::from_le_bytes(*word)));
}

/// Byte j holds weights j (low) and j + 16 (high); a word shall hold eight in order.
fn split_q4_0(block: &[u8], quants: &mut Vec<u32>, scales: &mut Vec<u16>) {
    scales.push(u16::from_le_bytes([block[0], block[1]]));
    for shift in [0, 4] {
        for bytes in block[2..].as_chunks::<8>().0 {
            let nibbles = bytes.iter().rev().fold(0, |word, byte| word << 4 | u32::from(byte >> shift & 15));
            quants.push(nibbles);
        }
    }
}

/// ql 128, qh 64, scales 16, d 2 bytes. The weights of each half (128) come in four runs of 32: the low nibbles of two
/// runs of ql, then the high ones; their upper two bits are the four pairs of bits of one run of qh.
fn split_q6_k(block: &[u8], quants: &mut Vec<u32>, scales: &mut Vec<u16>) {
    let (low, rest) = block.split_at(128);
    let (high, rest) = rest.split_at(64);
    let (factors, scale) = rest.split_at(16);
    scales.push(u16::from_le_bytes([scale[0], scale[1]]));
    let low_bits = |i: usize| {
        let (half, run, j) = (i / 128, i / 32 % 4, i % 32);
        u32::from(low[64 * half + 32 * (run % 2) + j] >> (4 * (run / 2)) & 15)
    };
    let high_bits = |i: usize| {
        let (half, run, j) = (i / 128, i / 32 % 4, i % 32);
        u32::from(high[32 * half + j] >> (2 * run) & 3)
    };
    quants.extend((0..32).map(|word| (0..8).fold(0, |bits, i| bits | low_bits(8 * word + i) << (4 * i))));
    quants.extend((0..16).map(|word| (0..16).fold(0, |bits, i| bits | high_bits(16 * word + i) << (2 * i))));
    quants.extend(factors.as_chunks().0.iter().map(|word| u32::from_le_bytes(*word)));
}
