//! A launch: found, checked against what was reflected, recorded. `context.rs` says what callers may rely on.

use anylora_engine::{Error, Result};
use anylora_shaders::{Binding, BindingKind, EntryPoint, Shader};

use crate::Wgpu;
use crate::context::{Bind, Launch};
use crate::pipelines::PARAMS;
use crate::recorder::Dispatch;

/// A reflected binding, and what a launch binds to it.
type Bound<'a> = (&'static Binding, &'a Bind);

impl Wgpu {
    /// Records a kernel launch. See the module's doc.
    pub(crate) fn launch(&self, launch: &Launch<'_>) -> Result<()> {
        let Some(shader) = anylora_shaders::find(launch.kernel, launch.defines) else {
            return Err(Error::Device(format!(
                "no variant {} {:?} was built",
                launch.kernel, launch.defines
            )));
        };
        self.launch_shader(shader, launch)
    }

    /// As [`Wgpu::launch`], with the variant found.
    pub(crate) fn launch_shader(&self, shader: &'static Shader, launch: &Launch<'_>) -> Result<()> {
        self.check()?;
        let kernel = || format!("{}::{}", shader.label(), launch.entry);
        let wrong = |what: String| Err(Error::Device(format!("{}: {what}", kernel())));
        let tier = self.0.caps.tier;
        let needs = &shader.needs;
        if (needs.f16 && !tier.f16)
            || (needs.subgroups && !tier.subgroups)
            || (needs.cooperative_matrix && !tier.cooperative_matrix)
        {
            return wrong(format!("the variant needs more than the device's tier, {tier}"));
        }
        if launch.workgroups.contains(&0) {
            return Ok(());
        }
        let most = self.0.limits.max_compute_workgroups_per_dimension;
        if launch.workgroups.iter().any(|&count| count > most) {
            return wrong(format!(
                "{:?} workgroups, and at most {most} a dimension are possible",
                launch.workgroups
            ));
        }
        let Some(entry) = shader.entry_point(launch.entry) else {
            return wrong("no such entry point".to_owned());
        };
        let bound = match matched(entry, launch) {
            Ok(bound) => bound,
            Err(what) => return wrong(what),
        };
        for (binding, bind) in &bound {
            let storage = binding.kind != BindingKind::Uniform;
            if storage && bind.size > self.0.caps.max_binding_bytes {
                let limit = self.0.caps.max_binding_bytes;
                return Err(Error::BindingLimit {
                    op: launch.kernel,
                    unit: "binding",
                    bytes: bind.size,
                    limit,
                });
            }
            if !bind.offset.is_multiple_of(self.0.caps.binding_alignment) || bind.size < binding.min_size {
                let (name, offset, size) = (binding.name, bind.offset, bind.size);
                return wrong(format!(
                    "{name} can't be bound: {size} bytes from byte {offset} on"
                ));
            }
        }
        if let Some((a, b)) = conflict(&bound) {
            return wrong(format!("{a} and {b} are one buffer, and the kernel writes it"));
        }
        self.record(shader, entry, launch, &bound)
    }

    fn record(
        &self,
        shader: &'static Shader,
        entry: &'static EntryPoint,
        launch: &Launch<'_>,
        bound: &[Bound<'_>],
    ) -> Result<()> {
        let pipeline = self.pipeline(shader, entry)?;
        let resource = |buffer, offset, size| wgpu::BufferBinding {
            buffer,
            offset,
            size: wgpu::BufferSize::new(size),
        };
        let mut recorder = self.recorder();
        let mut entries: Vec<_> = bound
            .iter()
            .map(|(binding, bind)| wgpu::BindGroupEntry {
                binding: binding.index,
                resource: wgpu::BindingResource::Buffer(resource(&bind.buffer, bind.offset, bind.size)),
            })
            .collect();
        if let Some(params) = params(entry) {
            entries.push(wgpu::BindGroupEntry {
                binding: params.index,
                resource: wgpu::BindingResource::Buffer(resource(
                    recorder.ring(),
                    0,
                    launch.params.len() as u64,
                )),
            });
        }
        let bind_group = self.0.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: None,
            layout: &pipeline.layout,
            entries: &entries,
        });
        recorder.dispatch(
            &self.0,
            &Dispatch {
                pipeline: &pipeline.raw,
                bind_group: &bind_group,
                params: launch.params,
                workgroups: launch.workgroups,
            },
        );
        drop(recorder);
        self.check()
    }
}

fn params(entry: &'static EntryPoint) -> Option<&'static Binding> {
    entry.bindings.iter().find(|binding| binding.name == PARAMS)
}

/// The launch's bindings, each with what was reflected under its name.
fn matched<'a>(
    entry: &'static EntryPoint,
    launch: &Launch<'a>,
) -> std::result::Result<Vec<Bound<'a>>, String> {
    let found = launch.params.len() as u64;
    match params(entry) {
        None if found > 0 => {
            return Err(format!(
                "{found} bytes of parameters for a kernel that takes none"
            ));
        }
        // A struct may be padded to 16 bytes on one side and not on the other.
        Some(binding) if found.next_multiple_of(16) != binding.min_size.next_multiple_of(16) => {
            return Err(format!(
                "{found} bytes of parameters, and the kernel takes {}",
                binding.min_size
            ));
        }
        _ => {}
    }
    let mut bound = Vec::with_capacity(launch.bindings.len());
    for (name, bind) in launch.bindings {
        let Some(binding) = entry
            .bindings
            .iter()
            .find(|binding| binding.name == *name && *name != PARAMS)
        else {
            return Err(format!("there is no binding {name}"));
        };
        if bound
            .iter()
            .any(|(other, _): &Bound<'_>| other.index == binding.index)
        {
            return Err(format!("{name} is bound twice"));
        }
        bound.push((binding, bind));
    }
    for binding in entry.bindings {
        if binding.name != PARAMS && !bound.iter().any(|(other, _)| other.index == binding.index) {
            return Err(format!("{} is not bound", binding.name));
        }
    }
    Ok(bound)
}

/// Two bindings of one buffer that no API allows together.
fn conflict(bound: &[Bound<'_>]) -> Option<(&'static str, &'static str)> {
    let writes = |binding: &Binding| binding.kind == BindingKind::Storage { read_only: false };
    for (place, (a, bind_a)) in bound.iter().enumerate() {
        for (b, bind_b) in &bound[place + 1..] {
            let refused = match (writes(a), writes(b)) {
                (true, true) => bind_a.overlaps(bind_b),
                (one, other) => one != other,
            };
            if refused && bind_a.buffer == bind_b.buffer {
                return Some((a.name, b.name));
            }
        }
    }
    None
}
