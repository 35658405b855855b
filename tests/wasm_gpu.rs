//! The GPU tests in a browser: the same bodies, on WebGPU (Chromium: `--enable-unsafe-webgpu
//! --use-webgpu-adapter=swiftshader`), in a dedicated worker as on the page.
#![cfg(target_arch = "wasm32")]

mod common;
mod gpu_common;
mod gpu_model_cases;
mod gpu_quant_cases;

use gpu_model_cases as model;
use gpu_quant_cases as quant;
use wasm_bindgen_test::{wasm_bindgen_test, wasm_bindgen_test_configure};

wasm_bindgen_test_configure!(run_in_dedicated_worker);

macro_rules! browser_tests {
    ($($module:ident::$case:ident),* $(,)?) => {$(
        #[wasm_bindgen_test]
        async fn $case() {
            $module::$case().await;
        }
    )*};
}

browser_tests![
    quant::bytes_equal_the_scalar_definitions,
    quant::searches_find_what_the_scalar_definitions_find,
    quant::random_bit_patterns_too,
    quant::any_number_of_weights,
    quant::searches_agree_almost_always,
    quant::several_pieces_in_flight,
    quant::errors_are_measured,
    quant::faults_are_the_cpus,
    quant::a_lost_device_is_an_error,
    quant::the_self_check_passes,
    quant::software_adapters_only_when_asked_for,
    model::embedding_is_exact,
    model::matmul_equals_the_dequantized_product,
    model::odd_widths_work,
    model::elementwise_operations_equal_the_cpus,
    model::matrices_side_by_side_fill_their_columns,
    model::experts_equal_the_cpus,
    model::attention_equals_the_cpus,
    model::logits_and_tokens_equal_transformers,
    model::matrices_in_many_parts_give_the_same_bits,
    model::quantized_tokens_equal_the_cpus,
    model::recordings_of_any_length_are_sent,
    model::losing_the_device_is_an_error_of_the_next_token,
    model::large_matrices_arrive_whole,
];
