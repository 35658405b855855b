//! safetensors: reading.
