//! WebGPU: the quantizer, and the backend that runs a model. Records dispatches, no arithmetic. Vulkan and Metal outside
//! the browser.

pub mod device;
mod params;
pub mod quantize;
pub mod shader;

pub use device::{Gpu, Info};
pub use quantize::GpuQuantizer;
