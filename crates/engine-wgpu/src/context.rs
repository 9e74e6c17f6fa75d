//! What launchers use: name a kernel, bind tensors by name, dispatch.
//!
//! ```text
//! let rows = x.leading() as u64;
//! gpu.launch(Launch {
//!     kernel: "rms_norm",
//!     defines: &[("ACT", gpu.act(x.dtype())), ("REDUCE", gpu.reduce())],
//!     entry: "forward",
//!     params: bytemuck::bytes_of(&params),
//!     bindings: &[("x", gpu.bind(x)), ("weight", gpu.bind(weight)), ("y", gpu.bind(y))],
//!     workgroups: gpu.spread(rows),
//! })
//! ```
//!
//! - `defines` name a line of `shaders/variants`; `bindings` are matched by name with what was reflected from the
//!   WGSL, where every binding is in group 0. A name too few or too many is an [`anylora_engine::Error::Device`] that names the kernel.
//! - `params` go to the uniform named `params`; a kernel without one takes `&[]`. Other uniforms are bound like
//!   storage, usually from [`Wgpu::constant`].
//! - A binding starts on a multiple of 256 bytes and spans at most `caps.max_binding_bytes`; [`Wgpu::bind_rows`] binds
//!   one of `row_windows`. It spans whole 16 bytes, so `arrayLength` is at least the number of elements: take sizes
//!   from the parameters.
//! - No dispatch binds a buffer that it writes twice. wgpu 30 refuses one buffer as read-only and as read-write in one
//!   dispatch, at whatever ranges (usage is tracked by buffer); natively it lets two read-write bindings pass, which
//!   browsers refuse where they overlap. Here both are errors. Work in place needs a variant with one binding.
//! - Workgroup memory is not zeroed; kernels aren't bounds-checked unless [`crate::OpenOptions::checked`] says so.
//! - [`Wgpu::copy_bytes`] and [`Wgpu::clear_bytes`] need no kernel, and no windows.
//! - A launch returns at once. What goes wrong later is the error of a later call.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use anylora_engine::{DType, Tensor};

use crate::Wgpu;

/// One kernel launch.
pub(crate) struct Launch<'a> {
    /// The file's name in `shaders/`.
    pub(crate) kernel: &'static str,
    /// The variant.
    pub(crate) defines: &'a [(&'a str, &'a str)],
    /// The function.
    pub(crate) entry: &'a str,
    /// The bytes of the kernel's struct in `anylora_shaders::params`.
    pub(crate) params: &'a [u8],
    /// By the names in the WGSL.
    pub(crate) bindings: &'a [(&'a str, Bind)],
    /// How many workgroups; none is no work.
    pub(crate) workgroups: [u32; 3],
}

/// A part of a buffer.
#[derive(Clone)]
pub(crate) struct Bind {
    pub(crate) buffer: wgpu::Buffer,
    pub(crate) offset: u64,
    pub(crate) size: u64,
}

impl Bind {
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        self.offset < other.offset + other.size && other.offset < self.offset + self.size
    }
}

/// Small buffers whose content never changes.
pub(crate) struct Constants {
    by_content: Mutex<HashMap<Vec<u8>, wgpu::Buffer>>,
    dummy: wgpu::Buffer,
}

impl Constants {
    pub(crate) fn new(device: &wgpu::Device) -> Self {
        Self {
            by_content: Mutex::default(),
            dummy: constant_buffer(device, 256),
        }
    }
}

fn constant_buffer(device: &wgpu::Device, size: u64) -> wgpu::Buffer {
    device.create_buffer(&wgpu::BufferDescriptor {
        label: Some("constant"),
        size,
        usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST,
        mapped_at_creation: false,
    })
}

impl Wgpu {
    /// A whole tensor, or view.
    pub(crate) fn bind(&self, tensor: &Tensor<Self>) -> Bind {
        self.bind_bytes(tensor, 0, tensor.size_bytes() as u64)
    }

    /// Some rows of a tensor, of `row_bytes` each.
    pub(crate) fn bind_rows(&self, tensor: &Tensor<Self>, rows: Range<u64>, row_bytes: u64) -> Bind {
        self.bind_bytes(
            tensor,
            rows.start * row_bytes,
            (rows.end - rows.start) * row_bytes,
        )
    }

    fn bind_bytes(&self, tensor: &Tensor<Self>, start: u64, size: u64) -> Bind {
        let buffer = tensor.storage().buffer.clone();
        let offset = tensor.offset_bytes() + start;
        // The buffer's size is a multiple of 16 too.
        let size = size
            .max(1)
            .next_multiple_of(16)
            .min(buffer.size().saturating_sub(offset));
        Bind { buffer, offset, size }
    }

    /// A buffer with this content, uploaded once: a kernel's tables.
    pub(crate) fn constant(&self, bytes: &[u8]) -> Bind {
        let mut constants = self
            .0
            .constants
            .by_content
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let buffer = match constants.get(bytes) {
            Some(buffer) => buffer.clone(),
            None => {
                let mut content = bytes.to_vec();
                content.resize(bytes.len().max(1).next_multiple_of(16), 0);
                let buffer = constant_buffer(&self.0.device, content.len() as u64);
                self.recorder().write(&self.0, &buffer, 0, &content);
                constants.insert(bytes.to_vec(), buffer.clone());
                buffer
            }
        };
        let size = buffer.size();
        Bind {
            buffer,
            offset: 0,
            size,
        }
    }

    /// Something to bind where a variant has a read-only binding that this launch doesn't use.
    pub(crate) fn dummy(&self) -> Bind {
        Bind {
            buffer: self.0.constants.dummy.clone(),
            offset: 0,
            size: 256,
        }
    }

    /// The define of an activation's type.
    pub(crate) fn act(&self, dtype: DType) -> &'static str {
        if dtype == DType::F16 { "f16" } else { "f32" }
    }

    /// The define of how a workgroup sums up.
    pub(crate) fn reduce(&self) -> &'static str {
        if self.0.caps.tier.subgroups {
            "subgroup"
        } else {
            "workgroup"
        }
    }

    /// Folds `count` workgroups into x and y. The kernel's index is
    /// `workgroup_id.x + workgroup_id.y * num_workgroups.x`, and may be `count` or more in the last row.
    pub(crate) fn spread(&self, count: u64) -> [u32; 3] {
        let most = u64::from(self.0.limits.max_compute_workgroups_per_dimension);
        let y = count.div_ceil(most).max(1);
        // Rows as even as they can be leave the fewest workgroups idle. `launch` refuses what doesn't fit.
        let x = count.div_ceil(y);
        [
            u32::try_from(x).unwrap_or(u32::MAX),
            u32::try_from(y).unwrap_or(u32::MAX),
            1,
        ]
    }
}
