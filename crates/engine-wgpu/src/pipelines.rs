//! Compiled kernels: each is compiled when it's first launched, and kept.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use anylora_engine::Result;
use anylora_shaders::{Binding, BindingKind, EntryPoint, Shader};

use crate::Wgpu;

/// The uniform that a launch's parameters are bound to, with a dynamic offset.
pub(crate) const PARAMS: &str = "params";

/// One compiled entry point.
pub(crate) struct Pipeline {
    pub(crate) raw: wgpu::ComputePipeline,
    pub(crate) layout: wgpu::BindGroupLayout,
}

/// All compiled so far. Shaders are statics: an address names one.
#[derive(Default)]
pub(crate) struct Pipelines(Mutex<Compiled>);

#[derive(Default)]
struct Compiled {
    modules: HashMap<usize, wgpu::ShaderModule>,
    pipelines: HashMap<(usize, &'static str), Arc<Pipeline>>,
}

impl Wgpu {
    pub(crate) fn pipeline(
        &self,
        shader: &'static Shader,
        entry: &'static EntryPoint,
    ) -> Result<Arc<Pipeline>> {
        let mut compiled = self.0.pipelines.0.lock().unwrap_or_else(PoisonError::into_inner);
        let address = std::ptr::from_ref(shader) as usize;
        if let Some(pipeline) = compiled.pipelines.get(&(address, entry.name)) {
            return Ok(Arc::clone(pipeline));
        }
        let module = compiled
            .modules
            .entry(address)
            .or_insert_with(|| self.compile(shader));
        let pipeline = self.link(shader, entry, module);
        // Natively, what the compiler found is known now, and its kernel can be named.
        self.check()?;
        let pipeline = Arc::new(pipeline);
        compiled
            .pipelines
            .insert((address, entry.name), Arc::clone(&pipeline));
        Ok(pipeline)
    }

    fn compile(&self, shader: &Shader) -> wgpu::ShaderModule {
        let label = shader.label();
        // naga knows subgroups without being told, and doesn't know the directive; browsers ask for it.
        let wgsl = if cfg!(target_arch = "wasm32") && shader.needs.subgroups {
            format!("enable subgroups;\n{}", shader.wgsl).into()
        } else {
            shader.wgsl.into()
        };
        let descriptor = wgpu::ShaderModuleDescriptor {
            label: Some(&label),
            source: wgpu::ShaderSource::Wgsl(wgsl),
        };
        if self.0.options.checked {
            return self.0.device.create_shader_module(descriptor);
        }
        // SAFETY: the source is this project's own, validated when it was built. Its loops end, its divisors aren't
        // 0, and it compares its indices with sizes from the parameters, which launchers take from the bindings.
        unsafe {
            self.0
                .device
                .create_shader_module_trusted(descriptor, wgpu::ShaderRuntimeChecks::unchecked())
        }
    }

    fn link(&self, shader: &Shader, entry: &'static EntryPoint, module: &wgpu::ShaderModule) -> Pipeline {
        let device = &self.0.device;
        let label = format!("{}::{}", shader.label(), entry.name);
        let entries: Vec<_> = entry.bindings.iter().map(layout_entry).collect();
        let layout = device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
            label: Some(&label),
            entries: &entries,
        });
        let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: Some(&label),
            bind_group_layouts: &[Some(&layout)],
            immediate_size: 0,
        });
        let raw = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(&label),
            layout: Some(&pipeline_layout),
            module,
            entry_point: Some(entry.name),
            compilation_options: wgpu::PipelineCompilationOptions {
                constants: &[],
                // Kernels write shared memory before they read it.
                zero_initialize_workgroup_memory: false,
            },
            cache: None,
        });
        Pipeline { raw, layout }
    }
}

fn layout_entry(binding: &Binding) -> wgpu::BindGroupLayoutEntry {
    let ty = match binding.kind {
        BindingKind::Uniform => wgpu::BufferBindingType::Uniform,
        BindingKind::Storage { read_only } => wgpu::BufferBindingType::Storage { read_only },
    };
    wgpu::BindGroupLayoutEntry {
        binding: binding.index,
        visibility: wgpu::ShaderStages::COMPUTE,
        ty: wgpu::BindingType::Buffer {
            ty,
            has_dynamic_offset: binding.name == PARAMS,
            min_binding_size: wgpu::BufferSize::new(binding.min_size),
        },
        count: None,
    }
}
