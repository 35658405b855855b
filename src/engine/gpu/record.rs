//! Recording: dispatches pile up until something waits, then go out as one submission.

use super::device::Gpu;
use super::shader::{Pipeline, Pipelines, bind};
use crate::error::Result;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use wgpu::BufferUsages as Usage;

/// Bytes between two dispatches' parameters: what dynamic offsets must be multiples of by default.
const SLOT: usize = 256;
/// Dispatches that one submission may have.
const SLOTS: usize = 1024;
/// Storage buffers that a shader may have here.
const STORAGE: usize = 5;

/// A buffer on the device; its memory is freed once the work that needs it is submitted.
pub(super) struct Memory {
    /// Unique on the device, never 0.
    pub id: u64,
    /// Boxed: a model holds hundreds.
    pub raw: Box<wgpu::Buffer>,
    dropped: Dropped,
}

/// Buffers that nobody holds any more.
type Dropped = Rc<RefCell<Vec<(u64, wgpu::Buffer)>>>;

impl Drop for Memory {
    fn drop(&mut self) {
        self.dropped.borrow_mut().push((self.id, (*self.raw).clone()));
    }
}

struct Dispatch {
    pipeline: Rc<Pipeline>,
    group: wgpu::BindGroup,
    offset: u32,
    workgroups: [u32; 3],
}

pub(super) struct Recorder {
    pub gpu: Gpu,
    pipelines: Pipelines,
    pending: RefCell<Vec<Dispatch>>,
    /// Parameters of the pending dispatches, a slot each …
    slots: RefCell<Vec<u8>>,
    /// … and where they go.
    params: wgpu::Buffer,
    /// By pipeline and buffers. A model's passes use the same few hundred again and again.
    groups: RefCell<HashMap<(u64, [u64; STORAGE]), wgpu::BindGroup>>,
    dropped: Dropped,
    next_id: Cell<u64>,
    /// For reading back; kept from one time to the next.
    staging: Cell<Option<wgpu::Buffer>>,
}

impl Recorder {
    pub fn new(gpu: Gpu) -> Self {
        let params = gpu.create_buffer("params", (SLOT * SLOTS) as u64, Usage::UNIFORM | Usage::COPY_DST);
        Self {
            gpu,
            pipelines: Pipelines::default(),
            pending: RefCell::default(),
            slots: RefCell::default(),
            params,
            groups: RefCell::default(),
            dropped: Dropped::default(),
            next_id: Cell::new(1),
            staging: Cell::new(None),
        }
    }

    /// Zeroed storage, written and read by copies and shaders.
    pub fn memory(&self, label: &str, bytes: u64) -> Memory {
        let raw = self.gpu.create_buffer(label, bytes, Usage::STORAGE | Usage::COPY_DST | Usage::COPY_SRC);
        let id = self.next_id.replace(self.next_id.get() + 1);
        Memory { id, raw: Box::new(raw), dropped: self.dropped.clone() }
    }

    /// Whether any pending dispatch has yet to read what a write to a buffer would replace.
    pub fn is_idle(&self) -> bool {
        self.pending.borrow().is_empty()
    }

    /// Records one dispatch of a shader of [`super::shader::FAMILIES`]; `storage` in the order of its bindings.
    pub fn dispatch<P: bytemuck::Pod>(
        &self,
        (family, variant): (&'static str, &'static str),
        params: &P,
        storage: &[&Memory],
        workgroups: [usize; 3],
    ) {
        if workgroups.contains(&0) {
            return;
        }
        if self.pending.borrow().len() == SLOTS {
            self.submit();
        }
        let pipeline = self.pipelines.get(&self.gpu, family, variant);
        let mut ids = [0; STORAGE];
        ids.iter_mut().zip(storage).for_each(|(id, memory)| *id = memory.id);
        let group = self
            .groups
            .borrow_mut()
            .entry((pipeline.id, ids))
            .or_insert_with(|| {
                let buffers: Vec<&wgpu::Buffer> = storage.iter().map(|memory| &*memory.raw).collect();
                bind(&self.gpu, &pipeline, &self.params, &buffers)
            })
            .clone();
        let mut slots = self.slots.borrow_mut();
        let offset = slots.len();
        slots.extend_from_slice(bytemuck::bytes_of(params));
        slots.resize(offset + SLOT, 0);
        self.pending.borrow_mut().push(Dispatch {
            pipeline,
            group,
            offset: offset as u32,
            workgroups: workgroups.map(|n| n as u32),
        });
    }

    /// Sends what is pending.
    pub fn submit(&self) {
        self.send(|_| {});
    }

    /// Sends what is pending, and outside the browser waits for it: the copies that writes have left are free then.
    pub fn flush(&self) {
        self.submit();
        // What may go wrong here shows in the next read.
        let _ = self.gpu.device.poll(wgpu::PollType::wait_indefinitely());
    }

    /// Sends what is pending and then what `after` encodes, as one submission.
    fn send(&self, after: impl FnOnce(&mut wgpu::CommandEncoder)) -> wgpu::SubmissionIndex {
        let pending = self.pending.take();
        let slots = self.slots.take();
        if !slots.is_empty() {
            self.gpu.queue.write_buffer(&self.params, 0, &slots);
        }
        let mut encoder = self.gpu.device.create_command_encoder(&Default::default());
        if !pending.is_empty() {
            let mut pass = encoder.begin_compute_pass(&Default::default());
            let mut current = None;
            for dispatch in &pending {
                if current != Some(dispatch.pipeline.id) {
                    pass.set_pipeline(&dispatch.pipeline.pipeline);
                    current = Some(dispatch.pipeline.id);
                }
                pass.set_bind_group(0, &dispatch.group, &[dispatch.offset]);
                let [x, y, z] = dispatch.workgroups;
                pass.dispatch_workgroups(x, y, z);
            }
        }
        after(&mut encoder);
        let index = self.gpu.queue.submit([encoder.finish()]);
        self.sweep();
        index
    }

    /// Frees dropped buffers: nothing pending uses them any more.
    fn sweep(&self) {
        let dropped = self.dropped.take();
        if dropped.is_empty() {
            return;
        }
        self.groups.borrow_mut().retain(|(_, ids), _| !dropped.iter().any(|(id, _)| ids.contains(id)));
        dropped.iter().for_each(|(_, raw)| raw.destroy());
    }

    /// Sends what is pending and awaits the first bytes of a buffer.
    pub async fn read(&self, memory: &Memory, into: &mut [u8]) -> Result<()> {
        self.gpu.check()?;
        let bytes = into.len() as u64;
        let staging = self.staging.take().filter(|staging| staging.size() >= bytes);
        let staging =
            staging.unwrap_or_else(|| self.gpu.create_buffer("staging", bytes, Usage::MAP_READ | Usage::COPY_DST));
        let after = self.send(|encoder| encoder.copy_buffer_to_buffer(&memory.raw, 0, &staging, 0, bytes));
        self.gpu.map(&staging, bytes, after).copy(&mut [into]).await?;
        self.staging.set(Some(staging));
        Ok(())
    }
}
