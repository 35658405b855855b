//! The quantizers in WGSL against the scalar definitions, from every source type: equal bytes on every input, searches apart,
//! which may differ in a block of a thousand. Runs natively and, by `tests/wasm_gpu.rs`, in a browser.

#![cfg(not(target_arch = "wasm32"))]

mod gpu_common;
mod gpu_quant_cases;

use gpu_common::run;
use gpu_quant_cases as cases;

#[test]
fn bytes_equal_the_scalar_definitions() {
    run(cases::bytes_equal_the_scalar_definitions());
}

#[test]
fn searches_find_what_the_scalar_definitions_find() {
    run(cases::searches_find_what_the_scalar_definitions_find());
}

#[test]
fn random_bit_patterns_too() {
    run(cases::random_bit_patterns_too());
}

#[test]
fn any_number_of_weights() {
    run(cases::any_number_of_weights());
}

#[test]
fn searches_agree_almost_always() {
    run(cases::searches_agree_almost_always());
}

#[test]
fn several_pieces_in_flight() {
    run(cases::several_pieces_in_flight());
}

#[test]
fn errors_are_measured() {
    run(cases::errors_are_measured());
}

#[test]
fn faults_are_the_cpus() {
    run(cases::faults_are_the_cpus());
}

#[test]
fn a_lost_device_is_an_error() {
    run(cases::a_lost_device_is_an_error());
}

#[test]
fn the_self_check_passes() {
    run(cases::the_self_check_passes());
}

#[test]
fn software_adapters_only_when_asked_for() {
    run(cases::software_adapters_only_when_asked_for());
}
