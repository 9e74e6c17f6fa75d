//! WebGPU's default limits: what a variant may use and still run on every device of its tier.

use super::expand::Expanded;
use super::{BindingKind, EntryPoint, Problem, Variant};

const INVOCATIONS: u32 = 256;
const WORKGROUP_SIZE: [u32; 3] = [256, 256, 64];
const STORAGE_BUFFERS: usize = 8;
const UNIFORM_BUFFERS: usize = 12;
/// Below WebGPU's 64 KiB: the smallest range that drivers promise.
const UNIFORM_BYTES: u32 = 16 << 10;
const WORKGROUP_BYTES: u32 = 16 << 10;
/// Devices with cooperative matrices are discrete GPUs with more.
const WORKGROUP_BYTES_COOPERATIVE: u32 = 32 << 10;
const GROUPS: u32 = 4;
const BINDINGS_PER_GROUP: u32 = 1000;

pub fn check(entries: &[EntryPoint], variant: &Variant, expanded: &Expanded, problems: &mut Vec<Problem>) {
    let workgroup_bytes = match variant.needs.cooperative_matrix {
        true => WORKGROUP_BYTES_COOPERATIVE,
        false => WORKGROUP_BYTES,
    };
    for entry in entries {
        let mut at_most = |what: &str, found: u32, limit: u32| {
            if found > limit {
                let (path, line) = expanded.origin_of(&format!("fn {}(", entry.name));
                let message = format!("`{}` has {found} {what}; the limit is {limit}", entry.name);
                problems.push(Problem::new(path, line, message));
            }
        };
        let [x, y, z] = entry.workgroup_size;
        at_most(
            "invocations in a workgroup",
            x.saturating_mul(y).saturating_mul(z),
            INVOCATIONS,
        );
        for (axis, (found, limit)) in ["x", "y", "z"]
            .iter()
            .zip(entry.workgroup_size.into_iter().zip(WORKGROUP_SIZE))
        {
            at_most(&format!("as its workgroup size in {axis}"), found, limit);
        }
        at_most(
            "bytes of workgroup storage",
            entry.workgroup_bytes,
            workgroup_bytes,
        );
        let uniforms = entry
            .bindings
            .iter()
            .filter(|binding| binding.kind == BindingKind::Uniform)
            .count();
        at_most(
            "storage buffers",
            (entry.bindings.len() - uniforms) as u32,
            STORAGE_BUFFERS as u32,
        );
        at_most("uniform buffers", uniforms as u32, UNIFORM_BUFFERS as u32);
        for binding in &entry.bindings {
            at_most(
                &format!("as the group of `{}`", binding.name),
                binding.group,
                GROUPS - 1,
            );
            at_most(
                &format!("as the index of `{}`", binding.name),
                binding.index,
                BINDINGS_PER_GROUP - 1,
            );
            if binding.kind == BindingKind::Uniform {
                at_most(
                    &format!("bytes in the uniform `{}`", binding.name),
                    binding.min_size,
                    UNIFORM_BYTES,
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Sources, compile};
    use std::fmt::Write;

    fn report(variants: &str, kernel: &str) -> String {
        let mut sources = Sources {
            folder: "shaders".into(),
            variants: variants.into(),
            ..Sources::default()
        };
        sources.kernels.insert("k".into(), kernel.into());
        compile(&sources)
            .map(|_| String::new())
            .unwrap_or_else(|report| report.to_string())
    }

    fn buffers(count: u32, space: &str, ty: &str) -> String {
        let (mut text, mut uses) = (String::new(), String::new());
        for i in 0..count {
            writeln!(text, "@group(0) @binding({i}) var<{space}> b{i}: {ty};").unwrap();
            write!(uses, "_ = b{i}[0];").unwrap();
        }
        format!("{text}@compute @workgroup_size(1) fn main() {{ {uses} }}")
    }

    fn workgroup(words: u32) -> String {
        format!(
            "var<workgroup> t: array<f32, {words}>;\n@compute @workgroup_size(256) fn main() {{ t[0] = 1.0; }}"
        )
    }

    #[test]
    fn workgroup_storage() {
        assert_eq!(report("kernel k", &workgroup(4096)), "");
        let over = report("kernel k", &workgroup(4097));
        let expected = "shaders/k.wgsl:2: `main` has 16400 bytes of workgroup storage; the limit is 16384";
        assert!(over.contains(expected), "{over}");
        for feature in ["f16", "subgroups"] {
            assert_ne!(
                report(&format!("needs T=x {feature}\nkernel k T=x"), &workgroup(4097)),
                "",
                "{feature}"
            );
        }
        let cooperative = "needs T=x cooperative_matrix\nkernel k T=x";
        assert_eq!(report(cooperative, &workgroup(8192)), "");
        assert!(report(cooperative, &workgroup(8193)).contains("the limit is 32768"));
    }

    #[test]
    fn workgroup_size() {
        let kernel = |size: &str| {
            report(
                "kernel k",
                &format!("@compute @workgroup_size({size}) fn main() {{}}"),
            )
        };
        assert_eq!(kernel("16, 16"), "");
        assert_eq!(kernel("1, 1, 64"), "");
        assert!(kernel("16, 17").contains("`main` has 272 invocations in a workgroup; the limit is 256"));
        assert!(kernel("1, 1, 65").contains("`main` has 65 as its workgroup size in z; the limit is 64"));
    }

    #[test]
    fn buffer_counts_and_sizes() {
        let kernel = |count, space, ty| report("kernel k", &buffers(count, space, ty));
        assert_eq!(kernel(8, "storage, read", "array<f32>"), "");
        assert!(kernel(9, "storage, read", "array<f32>").contains("has 9 storage buffers; the limit is 8"));
        assert_eq!(kernel(12, "uniform", "array<vec4<f32>, 1024>"), "");
        assert!(kernel(13, "uniform", "vec4<f32>").contains("has 13 uniform buffers; the limit is 12"));
        let big = kernel(1, "uniform", "array<vec4<f32>, 1025>");
        assert!(
            big.contains("has 16400 bytes in the uniform `b0`; the limit is 16384"),
            "{big}"
        );
    }
}
