//! Schemes: how rows of f32 become planes of bytes, and back.
//!
//! A scheme is a folder (`mod.rs`: the layout as data, drawn; `scalar.rs`: the definition of the bytes; `simd128.rs`: the
//! same functions, faster, bit for bit equal) and one line in [`SCHEMES`].

pub(crate) mod affine32;
mod convert;
mod errors;
mod fault;
pub mod float;
pub mod iq4_nl;
pub mod iq4_xs;
pub mod mxfp4;
mod nibbles;
pub mod q2_k;
pub mod q3_k;
pub mod q4_0;
pub mod q4_1;
pub mod q4_k;
pub mod q5_0;
pub mod q5_1;
pub mod q5_k;
pub mod q6_k;
pub mod q8_0;
mod search;
#[cfg(target_feature = "simd128")]
mod simd128;
mod super_block;
pub mod tq1_0;
pub mod tq2_0;
mod weighted;

use crate::error::Result;
use crate::tensor::DType;
pub use convert::{convert, convert_weighed};
pub use errors::{Errors, error_sums};
use fault::Fault;

/// Which implementation computes. A value is the proof that it may run: SIMD128 exists only where it was compiled in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kernels {
    /// The reference: plain Rust, IEEE arithmetic, the definition.
    Scalar,
    /// WebAssembly SIMD128.
    #[cfg(target_feature = "simd128")]
    Simd128,
}

impl Kernels {
    /// Everything that can run here, the reference first.
    pub const ALL: &'static [Kernels] = &[
        Kernels::Scalar,
        #[cfg(target_feature = "simd128")]
        Kernels::Simd128,
    ];

    /// The fastest that can run here.
    pub const fn best() -> Kernels {
        Kernels::ALL[Kernels::ALL.len() - 1]
    }

    pub const fn name(self) -> &'static str {
        match self {
            Kernels::Scalar => "scalar",
            #[cfg(target_feature = "simd128")]
            Kernels::Simd128 => "simd128",
        }
    }
}

/// One stream of bytes that a scheme writes: GGUF's block types have a single interleaved one; formats that keep packed
/// weights, scales and zero points apart have several.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plane {
    pub name: &'static str,
    /// Bytes that one group of a row takes in this plane.
    pub group_bytes: usize,
}

/// A scheme as data.
#[derive(Debug, Clone, Copy)]
pub struct SchemeSpec {
    /// Name, weights per group, bytes per group over all planes.
    pub dtype: DType,
    /// The type's number in a GGUF file (`enum ggml_type`), for schemes that GGUF has.
    pub ggml_type: Option<u32>,
    pub planes: &'static [Plane],
}

impl SchemeSpec {
    /// Bits per weight.
    pub fn bits(&self) -> f64 {
        self.dtype.group_bytes as f64 * 8.0 / self.dtype.group as f64
    }
}

/// A scheme turns rows of f32 into planes of bytes.
///
/// Laws: `rows.len()` is a multiple of `cols`, `cols` a multiple of the group; every plane's length is exactly
/// `rows.len() / group * plane.group_bytes`; the bytes depend on the input alone, not on `kernels`. Callers keep them (the
/// pipeline checks shapes once per plan), so a breach is a panic, not an error.
pub trait Scheme: Sync {
    fn spec(&self) -> &'static SchemeSpec;

    /// Fails with [`crate::ErrorKind::NotFinite`] on NaN or infinity, or where a scale would overflow to infinity.
    /// `importance`: one weight per column (an importance matrix' row; finite, none negative), for schemes that use it.
    fn quantize(
        &self,
        kernels: Kernels,
        rows: &[f32],
        cols: usize,
        importance: Option<&[f32]>,
        planes: &mut [&mut [u8]],
    ) -> Result<()>;

    fn dequantize(&self, kernels: Kernels, planes: &[&[u8]], cols: usize, rows: &mut [f32]);
}

/// The one registration: a scheme exists because of its line here.
pub static SCHEMES: &[&dyn Scheme] = &[
    &float::F32,
    &float::F16,
    &float::BF16,
    &q8_0::Q8_0,
    &q4_0::Q4_0,
    &q2_k::Q2K,
    &q3_k::Q3K,
    &q4_k::Q4K,
    &q5_k::Q5K,
    &q6_k::Q6K,
    &q4_1::Q4_1,
    &q5_0::Q5_0,
    &q5_1::Q5_1,
    &iq4_nl::Iq4Nl,
    &iq4_xs::Iq4Xs,
    &tq1_0::Tq1_0,
    &tq2_0::Tq2_0,
    &mxfp4::Mxfp4,
];

/// Calls the function of that name in the module beside the caller that `kernels` asks for.
macro_rules! dispatch {
    ($kernels:expr, $function:ident($($argument:expr),*)) => {
        match $kernels {
            $crate::quant::Kernels::Scalar => scalar::$function($($argument),*),
            #[cfg(target_feature = "simd128")]
            $crate::quant::Kernels::Simd128 => simd128::$function($($argument),*),
        }
    };
}
use dispatch;

/// A GGUF block type as a scheme: its specification from the `Block` and `GROUP` beside the caller, its functions from
/// `scalar` and `simd128` there: `dequantize(blocks, rows)` and `quantize(rows, blocks)`. Types that use importance have
/// either `quantize_weighted(rows, importance, blocks)` beside it (`weighted`), or one `quantize(rows, importance, blocks)`
/// for both (`either`).
macro_rules! block_scheme {
    ($scheme:ident, $name:literal, $ggml_type:literal) => {
        $crate::quant::block_scheme!(@ $scheme, $name, $ggml_type, (kernels, rows, _importance, blocks) => {
            $crate::quant::dispatch!(kernels, quantize(rows, blocks))
        });
    };
    ($scheme:ident, $name:literal, $ggml_type:literal, weighted) => {
        $crate::quant::block_scheme!(@ $scheme, $name, $ggml_type, (kernels, rows, importance, blocks) => {
            match importance {
                Some(weights) => $crate::quant::dispatch!(kernels, quantize_weighted(rows, weights, blocks)),
                None => $crate::quant::dispatch!(kernels, quantize(rows, blocks)),
            }
        });
    };
    ($scheme:ident, $name:literal, $ggml_type:literal, either) => {
        $crate::quant::block_scheme!(@ $scheme, $name, $ggml_type, (kernels, rows, importance, blocks) => {
            $crate::quant::dispatch!(kernels, quantize(rows, importance, blocks))
        });
    };
    (@ $scheme:ident, $name:literal, $ggml_type:literal,
     ($kernels:ident, $rows:ident, $importance:ident, $blocks:ident) => $quantize:block) => {
        pub struct $scheme;

        static SPEC: $crate::quant::SchemeSpec = $crate::quant::SchemeSpec {
            dtype: $crate::tensor::DType { name: $name, group: GROUP, group_bytes: size_of::<Block>() },
            ggml_type: Some($ggml_type),
            planes: &[$crate::quant::Plane { name: "blocks", group_bytes: size_of::<Block>() }],
        };

        impl $crate::quant::Scheme for $scheme {
            fn spec(&self) -> &'static $crate::quant::SchemeSpec {
                &SPEC
            }

            fn quantize(
                &self,
                $kernels: $crate::quant::Kernels,
                $rows: &[f32],
                cols: usize,
                $importance: Option<&[f32]>,
                planes: &mut [&mut [u8]],
            ) -> $crate::error::Result<()> {
                $crate::quant::super_block::check(&SPEC, $rows.len(), cols, $importance);
                let $blocks: &mut [Block] = $crate::quant::blocks_mut(&SPEC, $rows.len(), planes);
                let result = $quantize;
                result.map_err(|fault| fault.into_error(&SPEC, $rows, cols))
            }

            fn dequantize(&self, kernels: $crate::quant::Kernels, planes: &[&[u8]], cols: usize, rows: &mut [f32]) {
                $crate::quant::check_shape(&SPEC, rows.len(), cols);
                let blocks: &[Block] = $crate::quant::blocks(&SPEC, rows.len(), planes);
                $crate::quant::dispatch!(kernels, dequantize(blocks, rows));
            }
        }
    };
}
use block_scheme;

/// The only plane of a GGUF block type, as blocks: panics unless `bytes` is what `weights` weights take.
fn blocks_mut<'a, Block: bytemuck::Pod>(
    spec: &SchemeSpec,
    weights: usize,
    planes: &'a mut [&mut [u8]],
) -> &'a mut [Block] {
    let [bytes] = planes else { panic!("{} has one plane, not {}", spec.dtype.name, planes.len()) };
    assert_eq!(weights / spec.dtype.group * spec.dtype.group_bytes, bytes.len(), "plane of {}", spec.dtype.name);
    bytemuck::cast_slice_mut(bytes)
}

/// As [`blocks_mut`], for reading.
fn blocks<'a, Block: bytemuck::Pod>(spec: &SchemeSpec, weights: usize, planes: &[&'a [u8]]) -> &'a [Block] {
    let [bytes] = planes else { panic!("{} has one plane, not {}", spec.dtype.name, planes.len()) };
    assert_eq!(weights / spec.dtype.group * spec.dtype.group_bytes, bytes.len(), "plane of {}", spec.dtype.name);
    bytemuck::cast_slice(bytes)
}

/// Panics unless `cols` is a multiple of the group and `weights` of `cols`.
fn check_shape(spec: &SchemeSpec, weights: usize, cols: usize) {
    assert!(cols > 0 && cols.is_multiple_of(spec.dtype.group), "{cols} columns in groups of {}", spec.dtype.group);
    assert!(weights.is_multiple_of(cols), "{weights} weights in rows of {cols}");
}

/// The scheme of that name (`Q4_0`), as the formats' documentation spells it.
pub fn by_name(name: &str) -> Option<&'static dyn Scheme> {
    SCHEMES.iter().copied().find(|scheme| scheme.spec().dtype.name == name)
}

/// The scheme with that number in GGUF.
pub fn by_ggml_type(ggml_type: u32) -> Option<&'static dyn Scheme> {
    SCHEMES.iter().copied().find(|scheme| scheme.spec().ggml_type == Some(ggml_type))
}
