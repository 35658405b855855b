//! The engine's tests in wasm, where SIMD128 stands beside the scalar reference.
#![cfg(target_arch = "wasm32")]
#![allow(clippy::duplicate_mod)] // natively each of the two is a test of its own, with its own copy of common

#[path = "engine_logits.rs"]
mod engine_logits;
#[path = "engine_ops.rs"]
mod engine_ops;
