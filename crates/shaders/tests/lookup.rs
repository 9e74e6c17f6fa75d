//! The table finds what it holds.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use anylora_shaders::{SHADERS, find};

#[test]
fn every_variant_is_found_by_its_defines_in_any_order() {
    for shader in SHADERS {
        let defines: Vec<_> = shader.defines.iter().rev().copied().collect();
        let found = find(shader.kernel, &defines).unwrap();
        assert!(std::ptr::eq(found, shader), "{}", shader.label());
        for (name, value) in shader.defines {
            assert_eq!(shader.define(name), Some(*value));
            assert!(shader.label().contains(&format!(" {name}={value}")));
        }
        let name = shader.entry_points[0].name;
        assert_eq!(shader.entry_point(name).map(|entry| entry.name), Some(name));
    }
}

#[test]
fn the_set_of_defines_must_be_exact() {
    for shader in SHADERS.iter().filter(|shader| !shader.defines.is_empty()) {
        let mut more = shader.defines.to_vec();
        more.push(("NO_SUCH_AXIS", "1"));
        assert!(find(shader.kernel, &more).is_none());
        // Naming one axis twice must not stand in for the axis that is missing.
        let twice = vec![shader.defines[0]; shader.defines.len()];
        let expected = shader.defines.len() == 1;
        assert_eq!(
            find(shader.kernel, &twice).is_some(),
            expected,
            "{}",
            shader.label()
        );
    }
    assert!(find("no_such_kernel", &[]).is_none());
}
