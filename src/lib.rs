//! phiquant: quantize and run Microsoft Phi checkpoints, in a browser tab or in a terminal.
//!
//! Two flows, each one way:
//!
//! ```text
//! source ─► chunks ─► quantizer ─► writer ─► sink          (convert: checkpoint, pipeline, formats, quant)
//! weights ─► model ─► decode loop ─► JavaScript            (run: phi, engine)
//! ```
//!
//! Imports point one way: `web, bin → pipeline, phi → checkpoint → formats, quant, engine → tensor → error, num`.
//! This crate does no I/O of its own: bytes come in, and what is wanted next goes out. `docs/architecture.md` has the map.

pub mod checkpoint;
pub mod engine;
pub mod error;
pub mod formats;
pub mod num;
pub mod phi;
pub mod pipeline;
pub mod quant;
pub mod tensor;
#[cfg(all(feature = "cli", not(target_arch = "wasm32")))]
pub mod text;
#[cfg(target_arch = "wasm32")]
mod web;

pub use error::{Error, ErrorKind, Result};
