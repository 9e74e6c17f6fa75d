//! naga's parser and validator, with exactly the capabilities that a variant's tier has.

use super::expand::Expanded;
use super::{Needs, Problem, Variant};
use naga::valid::{Capabilities, ModuleInfo, ShaderStages, ValidationFlags, Validator};
use naga::{Module, Span, front::wgsl};
use std::error::Error;

/// Parses and validates; a problem names the line as its author wrote it.
pub fn check(expanded: &Expanded, variant: &Variant) -> Result<(Module, ModuleInfo), Problem> {
    let source = &expanded.text;
    let capabilities = capabilities(variant.needs);
    let options = wgsl::Options {
        parse_doc_comments: false,
        capabilities,
    };
    let module = wgsl::Frontend::new_with_options(options)
        .parse(source)
        .map_err(|error| {
            let span = error.labels().next().map(|(span, _)| span);
            let detail = error.emit_to_string_with_path(source, &variant.label());
            problem(expanded, span, error.message(), detail)
        })?;
    let mut validator = Validator::new(ValidationFlags::all(), capabilities);
    validator.subgroup_stages(match variant.needs.subgroups {
        true => ShaderStages::COMPUTE,
        false => ShaderStages::empty(),
    });
    let info = validator.validate(&module).map_err(|error| {
        // A whole function and the expression in it: the shortest says where.
        let spans = error.spans().map(|(span, _)| *span).filter(Span::is_defined);
        let span = spans.min_by_key(|span| span.to_range().map(|range| range.len()));
        let detail = error.emit_to_string_with_path(source, &variant.label());
        problem(expanded, span, &message(error.as_inner()), detail)
    })?;
    Ok((module, info))
}

/// Baseline is WebGPU's core: nothing optional. Packing and unpacking two halves of a `u32`
/// (`unpack2x16float`) is part of core WGSL, though naga has a flag for it.
fn capabilities(needs: Needs) -> Capabilities {
    let mut capabilities = Capabilities::SHADER_FLOAT16_IN_FLOAT32;
    capabilities.set(Capabilities::SHADER_FLOAT16, needs.f16);
    capabilities.set(Capabilities::SUBGROUP, needs.subgroups);
    capabilities.set(Capabilities::COOPERATIVE_MATRIX, needs.cooperative_matrix);
    capabilities
}

/// naga's outer errors say where ("Entry point main is invalid"), the inner ones say what.
fn message(error: &dyn Error) -> String {
    let mut message = error.to_string();
    let mut inner = error.source();
    while let Some(error) = inner {
        message = format!("{message}: {error}");
        inner = error.source();
    }
    message
}

fn problem(expanded: &Expanded, span: Option<Span>, message: &str, detail: String) -> Problem {
    let line = span
        .filter(Span::is_defined)
        .map_or(0, |span| span.location(&expanded.text).line_number);
    let (path, line) = expanded.origin(line);
    Problem {
        detail,
        ..Problem::new(path, line, message)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Sources, compile};

    /// Compiles one kernel `k` and returns the report.
    fn report(variants: &str, kernel: &str, shared: &str) -> String {
        let mut sources = Sources {
            folder: "shaders".into(),
            variants: variants.into(),
            ..Sources::default()
        };
        sources.kernels.insert("k".into(), kernel.into());
        sources.shared.insert("s".into(), shared.into());
        compile(&sources)
            .map(|_| String::new())
            .unwrap_or_else(|report| report.to_string())
    }

    const MAIN: &str = "@compute @workgroup_size(1) fn main() {";

    #[test]
    fn a_parse_error_names_the_line_as_written_and_every_variant() {
        let kernel = format!("#if A == 1\n#else\n#endif\n#import s\n{MAIN}\n  let x = nonsense();\n}}\n");
        let report = report("kernel k A=1|2", &kernel, "const Z = 1;\n\n");
        assert!(
            report.starts_with("error: shaders/k.wgsl:6: no definition in scope for identifier"),
            "{report}"
        );
        assert!(report.contains("  in k A=1\n  in k A=2\n"), "{report}");
        assert!(
            report.contains("let x = nonsense();"),
            "naga's drawing is missing: {report}"
        );
    }

    #[test]
    fn a_validation_error_in_a_shared_file_names_that_file() {
        let shared = "const Z = 1;\n#if A == 1\nfn f(x: f32) -> f32 {\n  return x + u32(x);\n}\n#endif\n";
        let report = report("kernel k A=1", &format!("\n\n#import s\n{MAIN} }}\n"), shared);
        assert!(report.starts_with("error: shaders/shared/s.wgsl:4: "), "{report}");
    }

    #[test]
    fn all_broken_variants_are_told_at_once() {
        let kernel = format!("{MAIN}\n#if A == 1\n  one();\n#elif A == 2\n  two();\n#endif\n}}\n");
        let report = report("kernel k A=1|2|3", &kernel, "");
        assert!(
            report.contains("shaders/k.wgsl:3: ") && report.contains("shaders/k.wgsl:5: "),
            "{report}"
        );
        assert!(report.ends_with("2 problem(s) in the shaders"), "{report}");
    }

    #[test]
    fn a_feature_must_be_granted() {
        let half = format!("enable f16;\n{MAIN}\n  let x = 1.0h;\n}}\n");
        let subgroup = format!("{MAIN}\n  let x = subgroupAdd(1.0);\n}}\n");
        let matrix =
            format!("enable wgpu_cooperative_matrix;\nvar<private> m: coop_mat8x8<f32, A>;\n{MAIN} }}\n");
        for (kernel, feature) in [
            (half, "f16"),
            (subgroup, "subgroups"),
            (matrix, "cooperative_matrix"),
        ] {
            let without = report("kernel k T=x", &kernel, "");
            assert!(
                without.starts_with("error: shaders/k.wgsl:"),
                "{feature}: {without}"
            );
            let with = report(&format!("needs T=x {feature}\nkernel k T=x"), &kernel, "");
            assert_eq!(with, "", "{feature}");
        }
        assert_eq!(
            report("kernel k", &format!("{MAIN} let x = unpack2x16float(7u); }}"), ""),
            ""
        );
    }
}
