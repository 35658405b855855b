//! Every `#[wasm_bindgen]` item and nothing else.
