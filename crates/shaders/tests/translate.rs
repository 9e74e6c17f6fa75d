//! Every variant goes through naga's SPIR-V, MSL and HLSL writers with the options that wgpu uses, so
//! that Vulkan, Metal and DX12 break here and not on a user's machine.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use anylora_shaders::{SHADERS, Shader};
use naga::back::{hlsl, msl, spv};
use naga::proc::{BoundsCheckPolicies, BoundsCheckPolicy};
use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};
use naga::{Module, ShaderStage};

const CHECKED: BoundsCheckPolicies = BoundsCheckPolicies {
    index: BoundsCheckPolicy::Restrict,
    buffer: BoundsCheckPolicy::Restrict,
    image_load: BoundsCheckPolicy::Restrict,
    binding_array: BoundsCheckPolicy::Unchecked,
};

#[test]
fn there_are_shaders() {
    assert!(!SHADERS.is_empty(), "shaders/variants names no kernel");
}

#[test]
fn to_spirv() {
    every_entry_point(|shader, module, info, entry| {
        for bounds_check_policies in [CHECKED, BoundsCheckPolicies::default()] {
            let options = spv::Options {
                lang_version: (1, 3),
                bounds_check_policies,
                ..Default::default()
            };
            let pipeline = spv::PipelineOptions {
                shader_stage: ShaderStage::Compute,
                entry_point: entry.into(),
            };
            let words = spv::write_vec(module, info, &options, Some(&pipeline)).map_err(|e| e.to_string())?;
            assert!(!words.is_empty(), "{}", shader.label());
        }
        Ok(())
    });
}

#[test]
fn to_msl() {
    every_entry_point(|_, module, info, entry| {
        let options = msl::Options {
            lang_version: (3, 1),
            bounds_check_policies: CHECKED,
            ..Default::default()
        };
        let entry_point = Some((ShaderStage::Compute, entry.to_owned()));
        let pipeline = msl::PipelineOptions {
            entry_point,
            ..Default::default()
        };
        let (_, info) = msl::write_string(module, info, &options, &pipeline).map_err(|e| e.to_string())?;
        info.entry_point_names
            .into_iter()
            .try_for_each(|name| name.map(drop).map_err(|e| e.to_string()))
    });
}

/// HLSL has no cooperative matrices: those variants are for Vulkan and Metal, so they are left out here.
#[test]
fn to_hlsl() {
    every_entry_point(|shader, module, info, entry| {
        if shader.needs.cooperative_matrix {
            return Ok(());
        }
        let shader_model = hlsl::ShaderModel::V6_2;
        let options = hlsl::Options {
            shader_model,
            restrict_indexing: true,
            ..Default::default()
        };
        let pipeline = hlsl::PipelineOptions {
            entry_point: Some((ShaderStage::Compute, entry.to_owned())),
        };
        let mut text = String::new();
        let mut writer = hlsl::Writer::new(&mut text, &options, &pipeline);
        let info = writer.write(module, info, None).map_err(|e| e.to_string())?;
        info.entry_point_names
            .into_iter()
            .try_for_each(|name| name.map(drop).map_err(|e| e.to_string()))
    });
}

/// Runs all of them before it fails, and names each that did.
fn every_entry_point(translate: impl Fn(&Shader, &Module, &ModuleInfo, &str) -> Result<(), String>) {
    let mut failed = Vec::new();
    for shader in SHADERS {
        let module = naga::front::wgsl::parse_str(shader.wgsl).unwrap();
        // build.rs validated with the tier's own capabilities; here only the module's info is wanted.
        let info = Validator::new(ValidationFlags::all(), Capabilities::all())
            .validate(&module)
            .unwrap();
        for entry in shader.entry_points {
            if let Err(error) = translate(shader, &module, &info, entry.name) {
                failed.push(format!("{} {}: {error}", shader.label(), entry.name));
            }
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
