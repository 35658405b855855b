//! The same bodies in wasm, where SIMD128 stands beside the scalar reference. Run by wasm-bindgen's test runner, in Node
//! or in a browser (`cargo xtask test` does it in headless Chromium).
#![cfg(target_arch = "wasm32")]

#[path = "quant_bytes.rs"]
mod quant_bytes;

/// Without this, every comparison of implementations could pass by comparing the reference with itself.
#[wasm_bindgen_test::wasm_bindgen_test]
fn simd128_is_compiled_in() {
    assert_eq!(phiquant::quant::Kernels::ALL.len(), 2);
    assert_eq!(phiquant::quant::Kernels::best().name(), "simd128");
}
