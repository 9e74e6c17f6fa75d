//! Which cooperative matrices an adapter has that the kernels are written for.
//!
//! A kernel's subgroups are 32 invocations, A and B are f16, C is f32, and all three are square of one size. NVIDIA's
//! GPUs have 16 x 16, Apple's 8 x 8. Where subgroups may have another size (AMD, Intel), kernels would need to know
//! which one the driver chose: those adapters aren't said to have cooperative matrices.

use wgpu::CooperativeScalarType::{F16, F32};

/// Invocations of a subgroup in `shaders/shared/matrix.wgsl`.
const SUBGROUP: u32 = 32;

/// The sizes that `shaders/variants` lists, the fastest first, with their defines.
const SIZES: [(u32, &str); 2] = [(16, "16"), (8, "8")];

/// What the kernels of cooperative matrices run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Matrix {
    /// The define `SIZE`.
    pub(crate) size: &'static str,
    /// The define `MMA`.
    pub(crate) mma: &'static str,
}

impl Matrix {
    /// Matrices of this size in plain arithmetic.
    pub(crate) fn emulated(size: u32) -> Option<Self> {
        let (_, size) = SIZES.into_iter().find(|&(known, _)| known == size)?;
        Some(Self {
            size,
            mma: "emulated",
        })
    }
}

/// The adapter's own.
pub(crate) fn of(adapter: &wgpu::Adapter) -> Option<Matrix> {
    let wanted = wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX | wgpu::Features::SHADER_F16;
    if !adapter.features().contains(wanted) || !has_subgroups(&adapter.get_info()) {
        return None;
    }
    choose(&adapter.cooperative_matrix_properties())
}

/// Whether all subgroups are as large as the kernels take them to be. wgpu doesn't know that under Metal, where it is
/// so on Apple's own GPUs.
fn has_subgroups(info: &wgpu::AdapterInfo) -> bool {
    let fixed = info.subgroup_min_size == SUBGROUP && info.subgroup_max_size == SUBGROUP;
    fixed || (info.backend == wgpu::Backend::Metal && info.name.starts_with("Apple "))
}

fn choose(properties: &[wgpu::CooperativeMatrixProperties]) -> Option<Matrix> {
    let has = |size: u32| {
        properties.iter().any(|found| {
            [found.m_size, found.n_size, found.k_size] == [size; 3]
                && (found.ab_type, found.cr_type) == (F16, F32)
        })
    };
    let (_, size) = SIZES.into_iter().find(|&(size, _)| has(size))?;
    Some(Matrix { size, mma: "coop" })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn properties(
        [m_size, n_size, k_size]: [u32; 3],
        ab_type: wgpu::CooperativeScalarType,
        cr_type: wgpu::CooperativeScalarType,
    ) -> wgpu::CooperativeMatrixProperties {
        wgpu::CooperativeMatrixProperties {
            m_size,
            n_size,
            k_size,
            ab_type,
            cr_type,
            saturating_accumulation: false,
        }
    }

    #[test]
    fn only_what_the_kernels_are_written_for() {
        let size = |found: &[_]| choose(found).map(|matrix| matrix.size);
        let large = properties([16; 3], F16, F32);
        let small = properties([8; 3], F16, F32);
        assert_eq!(size(&[small, large]), Some("16"));
        assert_eq!(size(&[properties([16, 8, 16], F16, F32), small]), Some("8"));
        assert_eq!(size(&[]), None);
        for other in [
            properties([16; 3], F16, F16),
            properties([8; 3], F32, F32),
            properties([16, 16, 8], F16, F32),
            properties([8, 16, 16], F16, F32),
        ] {
            assert_eq!(size(&[other]), None, "{other:?}");
        }
    }

    #[test]
    fn emulated_in_the_same_sizes() {
        assert_eq!(Matrix::emulated(16).map(|matrix| matrix.size), Some("16"));
        assert_eq!(Matrix::emulated(8).map(|matrix| matrix.mma), Some("emulated"));
        assert_eq!(Matrix::emulated(32), None);
    }
}
