//! Recorded work on its way to the queue.
//!
//! Dispatches go into one compute pass until the batch is full or somebody needs its effect; wgpu orders the
//! dispatches of a pass by the buffers that they share. Their parameters are collected on the host and written into
//! one uniform buffer just before the batch is submitted: the write before reached it in queue order, so one buffer
//! serves all batches.

use std::ops::Range;

use crate::device::Inner;

/// Dispatches of a batch. Short enough that the GPU starts while the host records on.
const BATCH: usize = 64;
/// Parameters of a batch.
const PARAMS_BYTES: u64 = 64 << 10;
/// The alignment of dynamic offsets that every device has.
const SLOT: usize = 256;
/// Uploads are cut into pieces of this size: each passes through staging memory of its own.
const PIECE: usize = 16 << 20;
/// Staging memory is freed as submissions finish: a long upload submits in between.
const STAGED: u64 = 64 << 20;

/// The batch being recorded.
pub(crate) struct Recorder {
    batch: Option<Batch>,
    dispatches: usize,
    /// The batch's parameters, one or more slots a dispatch.
    params: Vec<u8>,
    ring: wgpu::Buffer,
    /// Bytes written since the last submission.
    staged: u64,
}

/// Fields drop in this order: the pass ends before its encoder. A copy ends it too; the next dispatch begins another.
struct Batch {
    pass: Option<wgpu::ComputePass<'static>>,
    encoder: wgpu::CommandEncoder,
}

/// One dispatch, checked.
pub(crate) struct Dispatch<'a> {
    pub(crate) pipeline: &'a wgpu::ComputePipeline,
    pub(crate) bind_group: &'a wgpu::BindGroup,
    /// Empty where the kernel takes none.
    pub(crate) params: &'a [u8],
    pub(crate) workgroups: [u32; 3],
}

impl Recorder {
    pub(crate) fn new(device: &wgpu::Device) -> Self {
        let ring = device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("params"),
            size: PARAMS_BYTES,
            usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        Self {
            batch: None,
            dispatches: 0,
            params: Vec::new(),
            ring,
            staged: 0,
        }
    }

    /// The uniform buffer with the parameters; bound with a dynamic offset.
    pub(crate) fn ring(&self) -> &wgpu::Buffer {
        &self.ring
    }

    /// Adds a dispatch to the batch.
    pub(crate) fn dispatch(&mut self, gpu: &Inner, dispatch: &Dispatch<'_>) {
        let slots = dispatch.params.len().next_multiple_of(SLOT);
        if self.dispatches == BATCH || (self.params.len() + slots) as u64 > PARAMS_BYTES {
            self.submit(gpu);
        }
        let offset = self.params.len() as u32;
        self.params.extend_from_slice(dispatch.params);
        self.params.resize(offset as usize + slots, 0);
        let Batch { pass, encoder } = self.batch(gpu);
        let pass =
            pass.get_or_insert_with(|| encoder.begin_compute_pass(&Default::default()).forget_lifetime());
        pass.set_pipeline(dispatch.pipeline);
        let offsets: &[u32] = if slots == 0 { &[] } else { &[offset] };
        pass.set_bind_group(0, dispatch.bind_group, offsets);
        let [x, y, z] = dispatch.workgroups;
        pass.dispatch_workgroups(x, y, z);
        self.dispatches += 1;
    }

    /// Adds a copy to the bytes `words` of `to`; offsets and sizes are multiples of 4.
    pub(crate) fn copy(
        &mut self,
        gpu: &Inner,
        from: &wgpu::Buffer,
        offset: u64,
        to: &wgpu::Buffer,
        words: Range<u64>,
    ) {
        let Batch { pass, encoder } = self.batch(gpu);
        *pass = None;
        encoder.copy_buffer_to_buffer(from, offset, to, words.start, words.end - words.start);
    }

    /// Adds zeros for the bytes `words`, from and to multiples of 4.
    pub(crate) fn clear(&mut self, gpu: &Inner, buffer: &wgpu::Buffer, words: Range<u64>) {
        let Batch { pass, encoder } = self.batch(gpu);
        *pass = None;
        encoder.clear_buffer(buffer, words.start, Some(words.end - words.start));
    }

    fn batch(&mut self, gpu: &Inner) -> &mut Batch {
        self.batch.get_or_insert_with(|| Batch {
            pass: None,
            encoder: gpu
                .device
                .create_command_encoder(&wgpu::CommandEncoderDescriptor::default()),
        })
    }

    /// Overwrites bytes of a buffer after everything recorded; `offset` and the size are multiples of 4.
    pub(crate) fn write(&mut self, gpu: &Inner, buffer: &wgpu::Buffer, offset: u64, bytes: &[u8]) {
        // wgpu puts a write before the next submission: what is recorded has to be submitted first.
        if self.batch.is_some() {
            self.submit(gpu);
        }
        let mut offset = offset;
        for piece in bytes.chunks(PIECE) {
            gpu.queue.write_buffer(buffer, offset, piece);
            offset += piece.len() as u64;
            self.staged += piece.len() as u64;
            if self.staged >= STAGED {
                self.submit(gpu);
            }
        }
    }

    /// Submits everything recorded, then `commands`.
    pub(crate) fn submit_with(
        &mut self,
        gpu: &Inner,
        commands: Option<wgpu::CommandBuffer>,
    ) -> wgpu::SubmissionIndex {
        if !self.params.is_empty() {
            gpu.queue.write_buffer(&self.ring, 0, &self.params);
            self.params.clear();
        }
        self.staged = 0;
        self.dispatches = 0;
        let recorded = self.batch.take().map(|Batch { pass, encoder }| {
            drop(pass);
            encoder.finish()
        });
        gpu.queue.submit(recorded.into_iter().chain(commands))
    }

    /// Submits everything recorded.
    pub(crate) fn submit(&mut self, gpu: &Inner) -> wgpu::SubmissionIndex {
        self.submit_with(gpu, None)
    }

    /// Forgets everything recorded.
    pub(crate) fn discard(&mut self) {
        self.batch = None;
        self.dispatches = 0;
        self.params.clear();
    }
}
