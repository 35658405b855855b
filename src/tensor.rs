//! What a tensor is before anyone looks at its numbers: a name, a shape, an element type, a span of bytes.

use crate::bail;
use crate::error::Result;
use std::ops::Range;

/// How the elements of a row are stored: `group` consecutive elements take `group_bytes` bytes.
///
/// The schemes' table ([`crate::quant::SCHEMES`]) is the one place that makes these; formats only carry them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DType {
    /// The name that the format's own documentation uses: `F32`, `BF16`, `Q4_0` …
    pub name: &'static str,
    /// Elements per group.
    pub group: usize,
    /// Bytes per group.
    pub group_bytes: usize,
}

impl DType {
    pub const F32: DType = DType { name: "F32", group: 1, group_bytes: 4 };
    pub const F16: DType = DType { name: "F16", group: 1, group_bytes: 2 };
    pub const BF16: DType = DType { name: "BF16", group: 1, group_bytes: 2 };

    /// Bytes of a row of `cols` elements; `None` if the groups do not divide it or the size overflows.
    pub fn row_bytes(&self, cols: u64) -> Option<u64> {
        let group = self.group as u64;
        if !cols.is_multiple_of(group) {
            return None;
        }
        (cols / group).checked_mul(self.group_bytes as u64)
    }
}

/// A tensor in a file. Shapes are in row-major order, the last dimension contiguous (GGUF's reversed order is turned
/// around by its reader and writer). Positions are u64: a shard may pass 4 GiB, and usize has 32 bits in wasm32.
#[derive(Debug, Clone, PartialEq)]
pub struct TensorInfo {
    pub name: String,
    pub shape: Vec<u64>,
    pub dtype: DType,
    /// Bytes in the file, counted from the file's start.
    pub span: Range<u64>,
}

impl TensorInfo {
    /// Elements, or an error where the product overflows.
    pub fn elements(&self) -> Result<u64> {
        elements(&self.shape)
    }

    /// Length of the contiguous dimension (1 for a scalar).
    pub fn cols(&self) -> u64 {
        self.shape.last().copied().unwrap_or(1)
    }

    /// Rows: the product of all other dimensions.
    pub fn rows(&self) -> u64 {
        self.shape.split_last().map_or(1, |(_, outer)| outer.iter().product())
    }

    pub fn bytes(&self) -> u64 {
        self.span.end - self.span.start
    }
}

/// The product of the dimensions, checked.
pub fn elements(shape: &[u64]) -> Result<u64> {
    let product = shape.iter().try_fold(1u64, |n, &dim| n.checked_mul(dim));
    match product {
        Some(n) => Ok(n),
        None => bail!(BadHeader, "the shape {shape:?} has more elements than 64 bits can count"),
    }
}
