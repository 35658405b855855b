//! The adapter and the device: WebGPU in a browser (page or worker), Vulkan or Metal in a terminal. Every fault of the
//! device, lost or refused or out of memory, becomes an error of the next wait, never a panic.

use crate::error::{Error, ErrorKind, Result};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// What a person may want to know of the adapter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Info {
    /// `nvidia`, `intel` …; empty where the browser does not say.
    pub vendor: String,
    pub name: String,
    /// A software implementation: correct, and slower than the CPU's own kernels.
    pub fallback: bool,
    pub f16: bool,
    pub subgroups: bool,
    pub max_buffer_bytes: u64,
}

/// A device, its queue, and what went wrong with it.
pub struct Gpu {
    pub(super) device: wgpu::Device,
    pub(super) queue: wgpu::Queue,
    pub info: Info,
    /// Bytes that one storage binding may span.
    pub(super) max_binding: u64,
    faults: Arc<Mutex<Faults>>,
}

#[derive(Default)]
struct Faults {
    lost: Option<Error>,
    other: Option<Error>,
}

impl Gpu {
    /// Requests a device. `any_adapter`: a software adapter will do too. Fails with `NoDevice`.
    pub async fn request(any_adapter: bool) -> Result<Gpu> {
        let adapter = request_adapter(any_adapter).await?;
        let info = adapter.get_info();
        let features = adapter.features();
        let has = adapter.limits();
        // The defaults that every WebGPU device keeps, apart from the two that large matrices gain from.
        let limits = wgpu::Limits {
            max_buffer_size: has.max_buffer_size,
            max_storage_buffer_binding_size: has.max_storage_buffer_binding_size,
            ..wgpu::Limits::defaults()
        };
        let (device, queue) = adapter
            .request_device(&wgpu::DeviceDescriptor {
                label: Some("phiquant"),
                required_limits: limits.clone(),
                ..Default::default()
            })
            .await
            .map_err(|e| no_device(&format!("the adapter {} gave no device: {e}", info.name)))?;
        let faults = Arc::new(Mutex::new(Faults::default()));
        let lost = faults.clone();
        device.set_device_lost_callback(move |reason, message| {
            let text = format!("the GPU device was lost ({reason:?}): {message}; the CPU can take over");
            lock(&lost).lost.get_or_insert_with(|| Error::new(ErrorKind::DeviceLost, text));
        });
        let uncaptured = faults.clone();
        device.on_uncaptured_error(Arc::new(move |error| {
            let kind = match error {
                wgpu::Error::OutOfMemory { .. } => ErrorKind::OutOfMemory,
                _ => ErrorKind::Internal,
            };
            lock(&uncaptured).other.get_or_insert_with(|| Error::new(kind, format!("the GPU refused: {error}")));
        }));
        let (vendor, name) = names(&info, &device);
        Ok(Gpu {
            info: Info {
                vendor,
                name,
                fallback: is_fallback(&info),
                f16: features.contains(wgpu::Features::SHADER_F16),
                subgroups: features.contains(wgpu::Features::SUBGROUP),
                max_buffer_bytes: limits.max_buffer_size,
            },
            // More than a GiB at once is what allocators refuse first.
            max_binding: limits.max_storage_buffer_binding_size.min(limits.max_buffer_size).min(1 << 30),
            device,
            queue,
            faults,
        })
    }

    /// The first fault so far; a lost device goes before what followed from it.
    pub fn check(&self) -> Result<()> {
        let faults = lock(&self.faults);
        match faults.lost.as_ref().or(faults.other.as_ref()) {
            Some(error) => Err(error.clone()),
            None => Ok(()),
        }
    }

    /// Loses the device on purpose: what a driver reset does, for those who test what happens then.
    pub fn lose(&self) {
        self.device.destroy();
    }

    /// A buffer of `bytes` bytes, rounded up to whole 16-byte steps and zeroed.
    pub(super) fn create_buffer(&self, label: &str, bytes: u64, usage: wgpu::BufferUsages) -> wgpu::Buffer {
        self.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some(label),
            size: bytes.max(16).next_multiple_of(16),
            usage,
            mapped_at_creation: false,
        })
    }

    /// Asks for the first `bytes` bytes (a multiple of 4) of a readback buffer, once all that was submitted is done.
    pub(super) fn map(&self, buffer: &wgpu::Buffer, bytes: u64, after: wgpu::SubmissionIndex) -> Mapping<'_> {
        let state = Arc::new(Mutex::new(MapState { result: None, waker: None }));
        let callback = state.clone();
        buffer.slice(..bytes).map_async(wgpu::MapMode::Read, move |result| {
            let mut state = lock(&callback);
            state.result = Some(result.is_ok());
            if let Some(waker) = state.waker.take() {
                waker.wake();
            }
        });
        Mapping { gpu: self, buffer: buffer.clone(), bytes, after, state }
    }
}

impl Drop for Gpu {
    fn drop(&mut self) {
        // A browser frees device memory when its garbage collector gets to it, which may be gigabytes too late.
        self.device.destroy();
    }
}

struct MapState {
    result: Option<bool>,
    waker: Option<Waker>,
}

/// A readback under way.
pub(super) struct Mapping<'a> {
    gpu: &'a Gpu,
    buffer: wgpu::Buffer,
    bytes: u64,
    after: wgpu::SubmissionIndex,
    state: Arc<Mutex<MapState>>,
}

impl Mapping<'_> {
    /// Waits for the device, copies the bytes from `offset` on into each slice of `into` in turn, and unmaps.
    pub async fn copy(mut self, into: &mut [&mut [u8]]) -> Result<()> {
        let mapped = Wait(&mut self).await;
        self.gpu.check()?;
        let lost = |what: &str| {
            Error::new(ErrorKind::DeviceLost, format!("the GPU device did not give its results back: {what}"))
        };
        if !mapped {
            return Err(lost("mapping failed"));
        }
        {
            let view = self.buffer.slice(..self.bytes).get_mapped_range().map_err(|e| lost(&e.to_string()))?;
            let mut offset = 0;
            for slice in into {
                copy_out(&view, offset, slice);
                offset += slice.len();
            }
        }
        self.buffer.unmap();
        Ok(())
    }
}

#[cfg(target_arch = "wasm32")]
fn copy_out(view: &wgpu::BufferView, offset: usize, into: &mut [u8]) {
    // Straight from the browser's mapping, without a second copy in wasm memory.
    let bytes = view.as_uint8array();
    bytes.subarray(offset as u32, (offset + into.len()) as u32).copy_to(into);
}

#[cfg(not(target_arch = "wasm32"))]
fn copy_out(view: &wgpu::BufferView, offset: usize, into: &mut [u8]) {
    into.copy_from_slice(&view[offset..offset + into.len()]);
}

/// Resolves to whether the mapping succeeded. Outside the browser it drives the device itself.
struct Wait<'a, 'b>(&'a mut Mapping<'b>);

impl Future for Wait<'_, '_> {
    type Output = bool;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<bool> {
        let mapping = &self.0;
        #[cfg(not(target_arch = "wasm32"))]
        {
            let wait = wgpu::PollType::Wait { submission_index: Some(mapping.after.clone()), timeout: None };
            if mapping.gpu.device.poll(wait).is_err() {
                // A device that cannot wait is lost; collect what callbacks it still has to give.
                let _ = mapping.gpu.device.poll(wgpu::PollType::Poll);
                return Poll::Ready(lock(&mapping.state).result.unwrap_or(false));
            }
        }
        let _ = &mapping.after;
        let mut state = lock(&mapping.state);
        match state.result {
            Some(result) => Poll::Ready(result),
            None if cfg!(target_arch = "wasm32") => {
                state.waker = Some(context.waker().clone());
                Poll::Pending
            }
            None => Poll::Ready(false),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn no_device(why: &str) -> Error {
    Error::new(ErrorKind::NoDevice, format!("there is no usable GPU: {why}"))
}

async fn request_adapter(any_adapter: bool) -> Result<wgpu::Adapter> {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor {
        backends: wgpu::Backends::PRIMARY,
        ..wgpu::InstanceDescriptor::new_without_display_handle()
    });
    let mut options =
        wgpu::RequestAdapterOptions { power_preference: wgpu::PowerPreference::HighPerformance, ..Default::default() };
    let mut found = instance.request_adapter(&options).await;
    if any_adapter && found.is_err() {
        options.force_fallback_adapter = true;
        found = instance.request_adapter(&options).await;
    }
    // The error lists every backend that this build lacks: nothing that a person could act on.
    let adapter = found.map_err(|_| no_device("the browser or system offers no adapter"))?;
    let info = adapter.get_info();
    if !any_adapter && is_fallback(&info) {
        // Browsers tell most adapters' names to nobody.
        let name = if info.name.is_empty() { "the only adapter here" } else { &info.name };
        return Err(no_device(&format!("{name} is a software fallback, slower than the CPU's own kernels")));
    }
    Ok(adapter)
}

/// Software adapters by type, and by the names of those that drivers list among the others.
fn is_fallback(info: &wgpu::AdapterInfo) -> bool {
    let name = info.name.to_ascii_lowercase();
    info.device_type == wgpu::DeviceType::Cpu
        || ["swiftshader", "llvmpipe", "basic render"].iter().any(|software| name.contains(software))
}

/// Vendor and name. Outside the browser there is a number: the PCI vendors that make GPUs, and Khronos' own.
#[cfg(not(target_arch = "wasm32"))]
fn names(info: &wgpu::AdapterInfo, _device: &wgpu::Device) -> (String, String) {
    let vendor = match info.vendor {
        0x1002 => "amd",
        0x10de => "nvidia",
        0x8086 => "intel",
        0x106b => "apple",
        0x13b5 => "arm",
        0x5143 => "qualcomm",
        0x1ae0 => "google",
        0x10005 => "mesa",
        _ => "",
    };
    (vendor.to_owned(), info.name.clone())
}

/// Vendor and name. A browser tells them in `GPUDevice.adapterInfo`, of which wgpu hands on the description alone, and that
/// is most often empty; then the architecture is the name.
#[cfg(target_arch = "wasm32")]
fn names(info: &wgpu::AdapterInfo, device: &wgpu::Device) -> (String, String) {
    let field = |key: &str| {
        let device = device.as_webgpu()?;
        let told = js_sys::Reflect::get(device.as_ref(), &"adapterInfo".into()).ok()?;
        js_sys::Reflect::get(&told, &key.into()).ok()?.as_string().filter(|text| !text.is_empty())
    };
    let name = Some(info.name.clone()).filter(|name| !name.is_empty()).or_else(|| field("architecture"));
    (field("vendor").unwrap_or_default(), name.unwrap_or_default())
}
