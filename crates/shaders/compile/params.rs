//! The uniform `params: Params` of a kernel, as a Rust struct with the same bytes.

use super::expand::Expanded;
use super::{Problem, Variant};
use naga::{AddressSpace, ArraySize, Handle, Module, ScalarKind, Type, TypeInner};

/// One field; `offset` and `size` in bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    pub name: String,
    /// Rust's type: `u32`, `[f32; 4]`, ...
    pub ty: String,
    pub offset: u32,
    pub size: u32,
    /// The comment on the member's line, or nothing.
    pub doc: String,
}

/// The layout of one kernel's `Params`, which all its variants share.
#[derive(Debug, PartialEq)]
pub struct Params {
    pub kernel: String,
    pub fields: Vec<Field>,
    pub size: u32,
}

/// Collects the layouts and compares those of one kernel.
#[derive(Default)]
pub struct Layouts(Vec<(Params, String)>);

impl Layouts {
    pub fn add(
        &mut self,
        module: &Module,
        variant: &Variant,
        expanded: &Expanded,
        problems: &mut Vec<Problem>,
    ) {
        let mut uniforms = module.global_variables.iter().map(|(_, variable)| variable);
        let is_params = |variable: &&naga::GlobalVariable| {
            variable.space == AddressSpace::Uniform && variable.name.as_deref() == Some("params")
        };
        let Some(variable) = uniforms.find(is_params) else {
            return;
        };
        let params = match reflect(module, variable.ty, &variant.kernel, expanded) {
            Ok(params) => params,
            Err(problem) => return problems.push(problem),
        };
        match self.0.iter().find(|(known, _)| known.kernel == params.kernel) {
            None => self.0.push((params, variant.label())),
            Some((known, _)) if same_layout(known, &params) => {}
            Some((_, label)) => {
                let (path, line) = expanded.origin_of("struct Params");
                problems.push(Problem::new(
                    path,
                    line,
                    format!("`Params` differs from that of `{label}`"),
                ));
            }
        }
    }

    pub fn into_params(self) -> Vec<Params> {
        self.0.into_iter().map(|(params, _)| params).collect()
    }
}

/// A comment may differ; names, types and places may not.
fn same_layout(a: &Params, b: &Params) -> bool {
    let layout = |field: &Field| (field.name.clone(), field.ty.clone(), field.offset);
    a.size == b.size && a.fields.iter().map(layout).eq(b.fields.iter().map(layout))
}

fn reflect(module: &Module, ty: Handle<Type>, kernel: &str, expanded: &Expanded) -> Result<Params, Problem> {
    let Type { name, inner } = &module.types[ty];
    let TypeInner::Struct { members, span } = inner else {
        let (path, line) = expanded.origin_of("params");
        return Err(Problem::new(path, line, "the uniform `params` is no struct"));
    };
    if name.as_deref() != Some("Params") {
        let (path, line) = expanded.origin_of("params");
        return Err(Problem::new(
            path,
            line,
            "the struct of the uniform `params` is not called `Params`",
        ));
    }
    // naga's span covers the declaration, from `struct` on; the members' comments are in there.
    let range = module.types.get_span(ty).to_range().unwrap_or_default();
    let declaration = expanded.text.get(range.clone()).unwrap_or_default();
    let first_line = expanded
        .text
        .get(..range.start)
        .unwrap_or_default()
        .matches('\n')
        .count() as u32
        + 1;
    let mut fields = Vec::new();
    for member in members {
        let name = member.name.clone().unwrap_or_default();
        let place = declaration.lines().enumerate().find_map(|(index, line)| {
            let (code, comment) = line.split_once("//").unwrap_or((line, ""));
            let declared = code.split([',', '{']).any(|part| {
                part.split_once(':')
                    .is_some_and(|(left, _)| left.split_whitespace().last() == Some(&name))
            });
            declared.then(|| (index as u32, comment.trim().to_owned()))
        });
        let (index, doc) = place.unwrap_or_default();
        let Some(ty) = rust_type(module, member.ty).filter(|_| !KEYWORDS.contains(&name.as_str())) else {
            let (path, line) = expanded.origin(first_line + index);
            let message = format!(
                "`{name}` of `Params` has no counterpart in Rust; use u32, i32, f32, vectors and arrays of them"
            );
            return Err(Problem::new(path, line, message));
        };
        let size = module.types[member.ty].inner.size(module.to_ctx());
        fields.push(Field {
            name,
            ty,
            offset: member.offset,
            size,
            doc,
        });
    }
    Ok(Params {
        kernel: kernel.to_owned(),
        fields,
        size: *span,
    })
}

/// Rust's words that WGSL allows as names.
const KEYWORDS: &[&str] = &["box", "dyn", "in", "try", "gen", "union"];

/// None for what has no plain counterpart, such as a matrix, a nested struct or an f16.
fn rust_type(module: &Module, ty: Handle<Type>) -> Option<String> {
    match module.types[ty].inner {
        TypeInner::Scalar(scalar) if scalar.width == 4 => match scalar.kind {
            ScalarKind::Uint => Some("u32".into()),
            ScalarKind::Sint => Some("i32".into()),
            ScalarKind::Float => Some("f32".into()),
            _ => None,
        },
        TypeInner::Vector { size, scalar } if scalar.width == 4 => {
            let scalar = match scalar.kind {
                ScalarKind::Uint => "u32",
                ScalarKind::Sint => "i32",
                ScalarKind::Float => "f32",
                _ => return None,
            };
            Some(format!("[{scalar}; {}]", size as u32))
        }
        TypeInner::Array {
            base,
            size: ArraySize::Constant(count),
            stride,
        } => {
            let packed = module.types[base].inner.size(module.to_ctx()) == stride;
            let element = rust_type(module, base).filter(|_| packed)?;
            Some(format!("[{element}; {count}]"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Library, Report, Sources, compile};

    fn run(variants: &str, params: &str) -> Result<Library, Report> {
        let mut sources = Sources {
            folder: "shaders".into(),
            variants: variants.into(),
            ..Sources::default()
        };
        let main = "@group(0) @binding(0) var<uniform> params: Params;\n\
                    @compute @workgroup_size(1) fn main() { _ = params.m; }\n";
        sources.kernels.insert("k".into(), format!("{params}\n{main}"));
        compile(&sources)
    }

    #[test]
    fn fields_have_offsets_types_and_docs() {
        let library = run(
            "kernel k A=1|2",
            "struct Params {\n  m: u32, // rows of `x` [M, K]\n  eps: f32,\n#if A == 1\n  seed: vec2<i32>, // one\n#else\n  \
             seed: vec2<i32>,\n#endif\n  dims: vec3<u32>,\n  table: array<vec4<f32>, 2>,\n}\n",
        );
        let params = library.unwrap().params;
        assert_eq!(params.len(), 1);
        let found: Vec<_> = params[0]
            .fields
            .iter()
            .map(|f| (f.name.as_str(), f.ty.as_str(), f.offset, f.size, f.doc.as_str()))
            .collect();
        let expected = [
            ("m", "u32", 0, 4, "rows of `x` [M, K]"),
            ("eps", "f32", 4, 4, ""),
            ("seed", "[i32; 2]", 8, 8, "one"),
            ("dims", "[u32; 3]", 16, 12, ""),
            ("table", "[[f32; 4]; 2]", 32, 32, ""),
        ];
        assert_eq!(found, expected);
        assert_eq!(params[0].size, 64);
    }

    #[test]
    fn variants_must_agree() {
        let text = "struct Params {\n#if A == 1\n m: u32,\n n: u32,\n#else\n n: u32,\n m: u32,\n#endif\n}";
        let report = run("kernel k A=1|2", text).unwrap_err().to_string();
        assert!(
            report.contains("shaders/k.wgsl:1: `Params` differs from that of `k A=1`\n  in k A=2"),
            "{report}"
        );
    }

    #[test]
    fn what_has_no_counterpart_is_refused() {
        for (text, expected) in [
            (
                "struct Params {\n  m: u32,\n  a: mat4x4<f32>,\n}",
                "shaders/k.wgsl:3: `a` of `Params`",
            ),
            (
                "struct In { x: u32 }\nstruct Params {\n  m: u32,\n  @align(16) a: In }",
                "shaders/k.wgsl:4: `a` of `Params`",
            ),
            (
                "struct Params { m: u32, dyn: u32 }",
                "shaders/k.wgsl:1: `dyn` of `Params`",
            ),
            (
                "struct Other { m: u32 }\nalias Params = Other;",
                "not called `Params`",
            ),
        ] {
            let report = run("kernel k", text).unwrap_err().to_string();
            assert!(report.contains(expected), "{expected}: {report}");
        }
    }
}
