//! The types of the table that build.rs writes.

use crate::SHADERS;

/// Device features beyond WebGPU's baseline that a variant needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Needs {
    /// `enable f16`.
    pub f16: bool,
    /// Subgroup operations in compute shaders.
    pub subgroups: bool,
    /// wgpu's experimental cooperative matrices; native only.
    pub cooperative_matrix: bool,
}

/// How a buffer is bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BindingKind {
    /// `var<uniform>`.
    Uniform,
    /// `var<storage, read>` or `var<storage, read_write>`.
    Storage {
        /// Whether the shader only reads it.
        read_only: bool,
    },
}

/// A buffer that an entry point uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Binding {
    /// `@group`.
    pub group: u32,
    /// `@binding`.
    pub index: u32,
    /// The WGSL variable.
    pub name: &'static str,
    /// Uniform or storage.
    pub kind: BindingKind,
    /// The fewest bytes that may be bound; a runtime-sized array counts one element.
    pub min_size: u64,
}

/// A compute entry point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryPoint {
    /// The WGSL function.
    pub name: &'static str,
    /// `@workgroup_size`.
    pub workgroup_size: [u32; 3],
    /// Workgroup storage in bytes, as WebGPU counts it.
    pub workgroup_bytes: u32,
    /// The buffers that it uses, sorted by group and index.
    pub bindings: &'static [Binding],
}

/// One variant of a kernel.
#[derive(Clone, Copy, Debug)]
pub struct Shader {
    /// Name of the kernel: `linear` is `shaders/linear.wgsl`.
    pub kernel: &'static str,
    /// One value for each axis of the kernel's line in `shaders/variants`.
    pub defines: &'static [(&'static str, &'static str)],
    /// What the device must have.
    pub needs: Needs,
    /// The expanded WGSL.
    pub wgsl: &'static str,
    /// In the order of the file.
    pub entry_points: &'static [EntryPoint],
}

impl Shader {
    /// The entry point of this name.
    pub fn entry_point(&self, name: &str) -> Option<&EntryPoint> {
        self.entry_points.iter().find(|entry| entry.name == name)
    }

    /// The value of a define.
    pub fn define(&self, name: &str) -> Option<&str> {
        self.defines
            .iter()
            .find(|(define, _)| *define == name)
            .map(|(_, value)| *value)
    }

    /// Kernel and defines for messages: `linear DIRECTION=forward WEIGHT=nf4`.
    pub fn label(&self) -> String {
        let defines = self
            .defines
            .iter()
            .map(|(name, value)| format!(" {name}={value}"));
        std::iter::once(self.kernel.to_owned()).chain(defines).collect()
    }
}

/// The variant whose defines are exactly `defines`, in any order.
pub fn find(kernel: &str, defines: &[(&str, &str)]) -> Option<&'static Shader> {
    let exact = |shader: &&Shader| {
        let given = |name: &str, value: &str| defines.contains(&(name, value));
        shader.kernel == kernel
            && shader.defines.len() == defines.len()
            && shader.defines.iter().all(|(name, value)| given(name, value))
    };
    SHADERS.iter().find(exact)
}
