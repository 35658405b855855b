//! The GPU tests in a browser: the same bodies, on WebGPU (Chromium: `--enable-unsafe-webgpu
//! --use-webgpu-adapter=swiftshader`), in a dedicated worker as on the page.
#![cfg(target_arch = "wasm32")]

mod gpu_common;
mod gpu_quant_cases;

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
    quant::random_bit_patterns_too,
    quant::any_number_of_weights,
    quant::several_pieces_in_flight,
    quant::errors_are_measured,
    quant::faults_are_the_cpus,
    quant::a_lost_device_is_an_error,
    quant::the_self_check_passes,
    quant::software_adapters_only_when_asked_for,
];
