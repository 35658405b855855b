//! The WebGPU backend against the CPU's and against transformers. Runs natively and, by `tests/wasm_gpu.rs`, in a browser.
#![cfg(not(target_arch = "wasm32"))]

mod common;
mod gpu_common;
mod gpu_model_cases;

use gpu_common::run;
use gpu_model_cases as cases;

#[test]
fn embedding_is_exact() {
    run(cases::embedding_is_exact());
}

#[test]
fn matmul_equals_the_dequantized_product() {
    run(cases::matmul_equals_the_dequantized_product());
}

#[test]
fn odd_widths_work() {
    run(cases::odd_widths_work());
}

#[test]
fn elementwise_operations_equal_the_cpus() {
    run(cases::elementwise_operations_equal_the_cpus());
}

#[test]
fn matrices_side_by_side_fill_their_columns() {
    run(cases::matrices_side_by_side_fill_their_columns());
}

#[test]
fn experts_equal_the_cpus() {
    run(cases::experts_equal_the_cpus());
}

#[test]
fn attention_equals_the_cpus() {
    run(cases::attention_equals_the_cpus());
}

#[test]
fn logits_and_tokens_equal_transformers() {
    run(cases::logits_and_tokens_equal_transformers());
}

#[test]
fn matrices_in_many_parts_give_the_same_bits() {
    run(cases::matrices_in_many_parts_give_the_same_bits());
}

#[test]
fn quantized_tokens_equal_the_cpus() {
    run(cases::quantized_tokens_equal_the_cpus());
}

#[test]
fn recordings_of_any_length_are_sent() {
    run(cases::recordings_of_any_length_are_sent());
}

#[test]
fn losing_the_device_is_an_error_of_the_next_token() {
    run(cases::losing_the_device_is_an_error_of_the_next_token());
}

#[test]
fn large_matrices_arrive_whole() {
    run(cases::large_matrices_arrive_whole());
}
