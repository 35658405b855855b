//! F32, F16, BF16: each weight on its own, little-endian. F16 and BF16 round to nearest, ties to even.
//!
//! ```text
//! F32   s eeeeeeee fffffffffffffffffffffff     as it is
//! F16   s eeeee ffffffffff                     IEEE 754 binary16; a finite weight past 65504 is an error
//! BF16  s eeeeeeee fffffff                     the upper half of an f32, rounded
//! ```
//!
//! Source: ggml `ggml_fp32_to_fp16_row`, `ggml_fp32_to_bf16_row` (llama.cpp).

pub mod scalar;
#[cfg(target_feature = "simd128")]
pub mod simd128;

use super::{Fault, Kernels, Plane, Scheme, SchemeSpec, blocks, blocks_mut, check_shape, dispatch};
use crate::error::Result;
use crate::tensor::DType;

pub struct F32;
pub struct F16;
pub struct BF16;

const fn spec(dtype: DType, ggml_type: u32, planes: &'static [Plane]) -> SchemeSpec {
    SchemeSpec { dtype, ggml_type: Some(ggml_type), planes }
}

static SPEC_F32: SchemeSpec = spec(DType::F32, 0, &[Plane { name: "weights", group_bytes: 4 }]);
static SPEC_F16: SchemeSpec = spec(DType::F16, 1, &[Plane { name: "weights", group_bytes: 2 }]);
static SPEC_BF16: SchemeSpec = spec(DType::BF16, 30, &[Plane { name: "weights", group_bytes: 2 }]);

macro_rules! float_scheme {
    ($scheme:ident, $spec:ident, $quantize:ident, $dequantize:ident) => {
        impl Scheme for $scheme {
            fn spec(&self) -> &'static SchemeSpec {
                &$spec
            }

            fn quantize(
                &self,
                kernels: Kernels,
                rows: &[f32],
                cols: usize,
                _importance: Option<&[f32]>, // nothing to weigh
                planes: &mut [&mut [u8]],
            ) -> Result<()> {
                check_shape(&$spec, rows.len(), cols);
                let out = blocks_mut(&$spec, rows.len(), planes);
                let result: Result<(), Fault> = dispatch!(kernels, $quantize(rows, out));
                result.map_err(|fault| fault.into_error(&$spec, rows, cols))
            }

            fn dequantize(&self, kernels: Kernels, planes: &[&[u8]], cols: usize, rows: &mut [f32]) {
                check_shape(&$spec, rows.len(), cols);
                dispatch!(kernels, $dequantize(blocks(&$spec, rows.len(), planes), rows));
            }
        }
    };
}

float_scheme!(F32, SPEC_F32, quantize_f32, dequantize_f32);
float_scheme!(F16, SPEC_F16, quantize_f16, dequantize_f16);
float_scheme!(BF16, SPEC_BF16, quantize_bf16, dequantize_bf16);
