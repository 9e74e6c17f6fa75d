//! The Rust text that `src/lib.rs` includes: the table of variants and the `params` structs.

use super::params::{Field, Params};
use super::{Binding, BindingKind, Library, Shader};
use std::fmt::{self, Write};

/// The whole of `$OUT_DIR/shaders.rs`.
pub fn rust(library: &Library) -> String {
    let mut out = String::new();
    // Writing to a String does not fail.
    let _ = shaders(&mut out, &library.shaders).and_then(|()| params(&mut out, &library.params));
    out
}

fn shaders(out: &mut String, shaders: &[Shader]) -> fmt::Result {
    writeln!(
        out,
        "/// Every variant of every kernel, in the order of `shaders/variants`."
    )?;
    writeln!(out, "pub static SHADERS: &[Shader] = &[")?;
    for Shader {
        variant,
        wgsl,
        entry_points,
    } in shaders
    {
        let needs = variant.needs;
        writeln!(out, "Shader {{\n    kernel: {:?},", variant.kernel)?;
        writeln!(out, "    defines: &{:?},", variant.defines)?;
        let (f16, subgroups, matrix) = (needs.f16, needs.subgroups, needs.cooperative_matrix);
        writeln!(
            out,
            "    needs: Needs {{ f16: {f16}, subgroups: {subgroups}, cooperative_matrix: {matrix} }},"
        )?;
        writeln!(out, "    entry_points: &[")?;
        for entry in entry_points {
            writeln!(
                out,
                "        EntryPoint {{ name: {:?}, workgroup_size: {:?},",
                entry.name, entry.workgroup_size
            )?;
            writeln!(
                out,
                "            workgroup_bytes: {}, bindings: &[",
                entry.workgroup_bytes
            )?;
            for Binding {
                group,
                index,
                name,
                kind,
                min_size,
            } in &entry.bindings
            {
                let kind = match kind {
                    BindingKind::Uniform => "Uniform".to_owned(),
                    BindingKind::Storage { read_only } => format!("Storage {{ read_only: {read_only} }}"),
                };
                write!(
                    out,
                    "            Binding {{ group: {group}, index: {index}, name: {name:?}, "
                )?;
                writeln!(out, "kind: BindingKind::{kind}, min_size: {min_size} }},")?;
            }
            writeln!(out, "        ] }},")?;
        }
        let fence = fence(wgsl);
        writeln!(out, "    ],\n    wgsl: r{fence}\"{wgsl}\"{fence},\n}},")?;
    }
    writeln!(out, "];")
}

/// As many `#` as a raw string of this text needs.
fn fence(text: &str) -> String {
    let mut fence = "#".to_owned();
    while text.contains(&format!("\"{fence}")) {
        fence.push('#');
    }
    fence
}

fn params(out: &mut String, all: &[Params]) -> fmt::Result {
    writeln!(
        out,
        "/// The kernels' uniform parameters, in WGSL's layout.\npub mod params {{"
    )?;
    for Params { kernel, fields, size } in all {
        let name = camel_case(kernel);
        writeln!(out, "/// Uniform parameters of the `{kernel}` kernel.")?;
        writeln!(
            out,
            "#[derive(Clone, Copy, Debug, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]"
        )?;
        writeln!(out, "#[repr(C)]\npub struct {name} {{")?;
        let mut end = 0;
        for Field {
            name,
            ty,
            offset,
            size,
            doc,
        } in fields
        {
            padding(out, end, *offset)?;
            let doc = if doc.is_empty() {
                format!("`{name}` of the WGSL struct.")
            } else {
                escape(doc)
            };
            writeln!(out, "    #[doc = {doc:?}]\n    pub {name}: {ty},")?;
            end = offset + size;
        }
        padding(out, end, *size)?;
        writeln!(out, "}}")?;
        // Not derived: arrays above 32 elements have no Default of their own.
        writeln!(
            out,
            "impl Default for {name} {{ fn default() -> Self {{ bytemuck::Zeroable::zeroed() }} }}"
        )?;
        writeln!(out, "const _: () = assert!(size_of::<{name}>() == {size});")?;
        for Field {
            name: field, offset, ..
        } in fields
        {
            writeln!(
                out,
                "const _: () = assert!(std::mem::offset_of!({name}, {field}) == {offset});"
            )?;
        }
    }
    writeln!(out, "}}")
}

/// Public, because `..Zeroable::zeroed()` needs every field to be visible.
fn padding(out: &mut String, from: u32, to: u32) -> fmt::Result {
    if from == to {
        return Ok(());
    }
    writeln!(
        out,
        "    #[doc(hidden)]\n    pub _pad{from}: [u32; {}],",
        (to - from) / 4
    )
}

/// A shape such as `[M]` in a comment is no link to rustdoc, nor `<T>` a tag; code spans stay as they are.
fn escape(doc: &str) -> String {
    let mut in_code = false;
    let mut escaped = String::new();
    for letter in doc.chars() {
        in_code ^= letter == '`';
        if !in_code && "[]<>*_".contains(letter) {
            escaped.push('\\');
        }
        escaped.push(letter);
    }
    escaped
}

/// `rms_norm` -> `RmsNorm`.
fn camel_case(name: &str) -> String {
    let capital = |word: &str| {
        let mut letters = word.chars();
        letters
            .next()
            .map(|first| first.to_ascii_uppercase())
            .into_iter()
            .chain(letters)
            .collect::<String>()
    };
    name.split('_').map(capital).collect()
}

#[cfg(test)]
mod tests {
    use super::super::{Sources, compile};
    use super::*;

    #[test]
    fn the_text_holds_the_table_and_the_structs() {
        let mut sources = Sources {
            folder: "shaders".into(),
            variants: "kernel my_k A=f32".into(),
            ..Sources::default()
        };
        let kernel = "// \"#quoted\"\nstruct Params {\n  m: u32, // rows [M]\n  v: vec3<f32>,\n  n: u32,\n  w: vec2<u32>,\n}\n\
                      @group(0) @binding(1) var<uniform> params: Params;\n\
                      @compute @workgroup_size(4) fn main() { _ = params.m; }\n";
        sources.kernels.insert("my_k".into(), kernel.into());
        let text = rust(&compile(&sources).unwrap());
        for expected in [
            "kernel: \"my_k\",\n    defines: &[(\"A\", \"f32\")],",
            "EntryPoint { name: \"main\", workgroup_size: [4, 1, 1],",
            "Binding { group: 0, index: 1, name: \"params\", kind: BindingKind::Uniform, min_size: 48 }",
            "wgsl: r##\"// \"#quoted\"\n",
            "/// Uniform parameters of the `my_k` kernel.",
            "pub struct MyK {\n    #[doc = \"rows \\\\[M\\\\]\"]\n    pub m: u32,\n    #[doc(hidden)]\n    pub _pad4: [u32; 3],",
            "pub w: [u32; 2],\n    #[doc(hidden)]\n    pub _pad40: [u32; 2],\n}",
            "assert!(size_of::<MyK>() == 48)",
            "offset_of!(MyK, n) == 28)",
        ] {
            assert!(text.contains(expected), "{expected}\n{text}");
        }
    }
}
