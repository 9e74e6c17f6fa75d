//! Which device a name opens. Needs a software adapter: `scripts/setup` installs lavapipe.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use anylora_engine::{Backend, DeviceKind, DeviceSpec, Tier};
use anylora_engine_wgpu::{AdapterReport, OpenError, OpenOptions, Wgpu, adapters};

fn open(spec: DeviceSpec) -> Result<Wgpu, OpenError> {
    pollster::block_on(Wgpu::open(spec, OpenOptions::default()))
}

fn reports() -> Vec<AdapterReport> {
    pollster::block_on(adapters())
}

#[test]
fn adapters_are_numbered_and_described() {
    let reports = reports();
    let software = reports
        .iter()
        .find(|report| report.info.kind == DeviceKind::Software)
        .expect("a software adapter");
    for report in &reports {
        assert!(
            !report.info.name.is_empty() && !report.info.backend.is_empty(),
            "{report:?}"
        );
        assert!(report.max_binding_bytes >= 128 << 20, "{report:?}");
        assert!(report.max_buffer_bytes >= 256 << 20, "{report:?}");
        assert!(
            report.max_invocations >= 256 && report.workgroup_memory_bytes >= 16 << 10,
            "{report:?}"
        );
        assert_eq!(
            reports.iter().filter(|other| other.spec == report.spec).count(),
            1,
            "{report:?}"
        );
    }
    if software.info.backend == "vulkan" {
        assert!(
            software.memory_bytes.is_some_and(|bytes| bytes > 1 << 28),
            "{software:?}"
        );
    }
}

#[test]
fn every_number_opens_its_adapter() {
    for report in reports() {
        let gpu = open(report.spec).unwrap();
        assert_eq!(gpu.info(), &report.info);
        assert!(gpu.caps().max_binding_bytes.is_multiple_of(256));
        assert!(gpu.caps().max_binding_bytes <= report.max_binding_bytes);
        assert_eq!(gpu.caps().binding_alignment, 256);
    }
}

#[test]
fn software_opens_a_software_adapter_with_all_it_has_but_cooperative_matrices() {
    let gpu = open(DeviceSpec::Software).unwrap();
    assert!(gpu.is_software());
    let report = reports()
        .into_iter()
        .find(|report| &report.info == gpu.info())
        .unwrap();
    assert_eq!(
        gpu.caps().tier,
        Tier {
            cooperative_matrix: false,
            ..report.tier
        }
    );
}

#[test]
fn auto_and_an_unnumbered_api_take_hardware_only() {
    let hardware = reports()
        .iter()
        .any(|report| report.info.kind != DeviceKind::Software);
    match open(DeviceSpec::Auto) {
        Ok(gpu) => assert!(hardware && !gpu.is_software()),
        Err(OpenError::NoHardware) => assert!(!hardware),
        Err(error) => panic!("{error}"),
    }
    let vulkan: Vec<_> = reports()
        .into_iter()
        .filter(|report| report.info.backend == "vulkan")
        .collect();
    match open(DeviceSpec::Vulkan(None)) {
        Ok(gpu) => assert!(!gpu.is_software()),
        Err(OpenError::NoAdapter { .. }) => assert!(vulkan.is_empty()),
        Err(error @ OpenError::OnlySoftware { .. }) => {
            assert!(
                vulkan
                    .iter()
                    .all(|report| report.info.kind == DeviceKind::Software)
            );
            assert!(
                error.to_string().ends_with("`--device software` takes it"),
                "{error}"
            );
        }
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn what_is_not_here_says_so() {
    assert!(matches!(open(DeviceSpec::Cpu), Err(OpenError::Cpu)));
    let missing = open(DeviceSpec::Vulkan(Some(99)));
    assert!(matches!(
        missing,
        Err(OpenError::NoSuchIndex { index: 99, .. } | OpenError::NoAdapter { .. })
    ));
    #[cfg(target_os = "linux")]
    {
        let error = open(DeviceSpec::Metal(None)).unwrap_err().to_string();
        assert_eq!(error, "no metal adapter is here; `anylora devices` lists what is");
    }
}

#[test]
fn options_lower_tier_and_limits() {
    let options = OpenOptions {
        tier: Some(Tier::BASELINE),
        max_binding_bytes: Some(70_000),
        ..OpenOptions::default()
    };
    let gpu = pollster::block_on(Wgpu::open(DeviceSpec::Software, options)).unwrap();
    assert_eq!(gpu.caps().tier, Tier::BASELINE);
    assert_eq!(gpu.caps().max_binding_bytes, 70_000 / 256 * 256);
}
