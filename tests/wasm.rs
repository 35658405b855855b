//! The same bodies in wasm, where SIMD128 stands beside the scalar reference. Run by wasm-bindgen's test runner, in Node
//! or in a browser (`cargo xtask test` does it in headless Chromium).
#![cfg(target_arch = "wasm32")]

#[path = "quant_bytes.rs"]
mod quant_bytes;
