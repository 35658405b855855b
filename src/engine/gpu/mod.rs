//! WebGPU: the quantizer, and the backend that runs a model. Records dispatches, no arithmetic. Vulkan and Metal outside
//! the browser.

mod backend;
mod device;
mod params;
mod quantize;
mod record;
pub mod shader;
mod weights;

pub use backend::{Buffer, WebGpu};
pub use device::{Gpu, Info};
pub use quantize::GpuQuantizer;
pub use weights::Matrix;
