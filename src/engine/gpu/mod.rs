//! The WebGPU backend: records dispatches, no arithmetic. Vulkan and Metal outside the browser.
