//! What a host must know of each entry point: workgroup size, workgroup storage, bindings.

use super::Problem;
use super::expand::Expanded;
use naga::valid::ModuleInfo;
use naga::{AddressSpace, Module, ShaderStage, StorageAccess};

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum BindingKind {
    Uniform,
    Storage { read_only: bool },
}

#[derive(Debug, PartialEq)]
pub struct Binding {
    pub group: u32,
    pub index: u32,
    pub name: String,
    pub kind: BindingKind,
    /// Bytes; a runtime-sized array counts one element, as in WebGPU.
    pub min_size: u32,
}

#[derive(Debug, PartialEq)]
pub struct EntryPoint {
    pub name: String,
    pub workgroup_size: [u32; 3],
    /// Bytes, each variable rounded up to 16 as WebGPU counts them.
    pub workgroup_bytes: u32,
    /// What the entry point uses, sorted by group and index.
    pub bindings: Vec<Binding>,
}

pub fn entry_points(
    module: &Module,
    info: &ModuleInfo,
    expanded: &Expanded,
    problems: &mut Vec<Problem>,
) -> Vec<EntryPoint> {
    let mut report = |pattern: &str, message: String| {
        let (path, line) = expanded.origin_of(pattern);
        problems.push(Problem::new(path, line, message));
    };
    if module.entry_points.is_empty() {
        report("", "there is no entry point".into());
    }
    for (_, constant) in module.overrides.iter() {
        let name = constant.name.as_deref().unwrap_or("");
        report(
            "override ",
            format!("`override {name}`: a define of the variants file does this"),
        );
    }
    let mut entry_points = Vec::new();
    for (index, entry) in module.entry_points.iter().enumerate() {
        if entry.stage != ShaderStage::Compute {
            report(
                &format!("fn {}(", entry.name),
                format!("`{}` is no compute entry point", entry.name),
            );
        }
        let used = info.get_entry_point(index);
        let mut workgroup_bytes = 0;
        let mut bindings = Vec::new();
        for (handle, variable) in module.global_variables.iter() {
            if used[handle].is_empty() {
                continue;
            }
            let name = variable.name.clone().unwrap_or_default();
            let size = module.types[variable.ty]
                .inner
                .try_size(module.to_ctx())
                .unwrap_or(u32::MAX);
            let kind = match variable.space {
                AddressSpace::WorkGroup => {
                    workgroup_bytes = size
                        .checked_next_multiple_of(16)
                        .unwrap_or(size)
                        .saturating_add(workgroup_bytes);
                    continue;
                }
                AddressSpace::Private | AddressSpace::Function => continue,
                AddressSpace::Uniform => BindingKind::Uniform,
                AddressSpace::Storage { access } => BindingKind::Storage {
                    read_only: !access.contains(StorageAccess::STORE),
                },
                space => {
                    report(
                        &name,
                        format!("`{name}`: address space {space:?} is not supported"),
                    );
                    continue;
                }
            };
            if let Some(at) = &variable.binding {
                bindings.push(Binding {
                    group: at.group,
                    index: at.binding,
                    name,
                    kind,
                    min_size: size,
                });
            }
        }
        bindings.sort_by_key(|binding| (binding.group, binding.index));
        let (name, workgroup_size) = (entry.name.clone(), entry.workgroup_size);
        entry_points.push(EntryPoint {
            name,
            workgroup_size,
            workgroup_bytes,
            bindings,
        });
    }
    entry_points
}

#[cfg(test)]
mod tests {
    use super::super::{Sources, compile};
    use super::*;

    fn sources(kernel: &str) -> Sources {
        let mut sources = Sources {
            folder: "shaders".into(),
            variants: "kernel k".into(),
            ..Sources::default()
        };
        sources.kernels.insert("k".into(), kernel.into());
        sources
    }

    #[test]
    fn each_entry_point_has_its_own_bindings() {
        let kernel = "
            struct Params { m: u32, scale: f32 }
            @group(0) @binding(2) var<storage, read> x: array<vec4<f32>>;
            @group(0) @binding(0) var<uniform> params: Params;
            @group(1) @binding(0) var<storage, read_write> y: array<f32>;
            @group(1) @binding(1) var<storage, read> unused: array<f32>;
            var<workgroup> tile: array<f32, 65>;
            var<workgroup> flag: u32;
            fn helper() -> f32 { tile[0] = x[0].x; return tile[0]; }
            @compute @workgroup_size(8, 4) fn first() { y[params.m] = helper() * params.scale; }
            @compute @workgroup_size(64) fn second() { flag = arrayLength(&y); }";
        let library = compile(&sources(kernel)).unwrap();
        let binding = |group, index, name: &str, kind, min_size| Binding {
            group,
            index,
            name: name.into(),
            kind,
            min_size,
        };
        let y = || binding(1, 0, "y", BindingKind::Storage { read_only: false }, 4);
        let first = EntryPoint {
            name: "first".into(),
            workgroup_size: [8, 4, 1],
            workgroup_bytes: 272,
            bindings: vec![
                binding(0, 0, "params", BindingKind::Uniform, 8),
                binding(0, 2, "x", BindingKind::Storage { read_only: true }, 16),
                y(),
            ],
        };
        let (name, workgroup_size) = ("second".into(), [64, 1, 1]);
        let second = EntryPoint {
            name,
            workgroup_size,
            workgroup_bytes: 16,
            bindings: vec![y()],
        };
        assert_eq!(library.shaders[0].entry_points, [first, second]);
    }

    #[test]
    fn what_the_engine_cannot_bind_is_refused() {
        for (kernel, expected) in [
            ("const A = 1;", "there is no entry point"),
            ("@fragment fn main() {}", "`main` is no compute entry point"),
            (
                "override N: u32 = 1;\n@compute @workgroup_size(N) fn main() {}",
                "`override N`",
            ),
            (
                "@group(0) @binding(0) var t: texture_2d<f32>;\n@compute @workgroup_size(1) fn main() {
                 let x = textureDimensions(t); }",
                "`t`: address space Handle is not supported",
            ),
        ] {
            let report = compile(&sources(kernel)).unwrap_err().to_string();
            assert!(report.contains(expected), "{expected}: {report}");
        }
    }
}
