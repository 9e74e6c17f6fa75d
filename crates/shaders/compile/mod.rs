//! From the shaders folder to checked, reflected variants.
//!
//!     sources -> variants -> expand -> check (naga) -> reflect -> limits -> params -> emit
//!
//! `build.rs` runs this at build time; `tests/compile.rs` runs each module's own tests. Every step
//! returns [`Problem`]s instead of stopping at the first, so that one build shows all broken variants.

mod check;
mod condition;
pub mod emit;
mod expand;
mod limits;
mod params;
mod problem;
mod reflect;
mod shrink;
mod sources;
mod variants;

pub use params::Params;
pub use problem::{Problem, Report};
pub use reflect::{Binding, BindingKind, EntryPoint};
pub use sources::Sources;
pub use variants::{Needs, Variant};

/// One variant, ready to be embedded.
#[derive(Debug)]
pub struct Shader {
    pub variant: Variant,
    pub wgsl: String,
    pub entry_points: Vec<EntryPoint>,
}

/// All variants of all kernels, in the order of the variants file.
#[derive(Debug)]
pub struct Library {
    pub shaders: Vec<Shader>,
    pub params: Vec<Params>,
}

/// Compiles every variant; the report names everything that is wrong, not only the first.
pub fn compile(sources: &Sources) -> Result<Library, Report> {
    let variants = variants::parse(&sources.path("variants"), &sources.variants)?;
    let mut report = Report::default();
    sources.match_kernels(&variants, &mut report);
    let mut shaders = Vec::new();
    let mut layouts = params::Layouts::default();
    for variant in variants {
        if !sources.kernels.contains_key(&variant.kernel) {
            continue;
        }
        let label = variant.label();
        let expanded = match expand::expand(sources, &variant) {
            Ok(expanded) => expanded,
            Err(problem) => {
                report.add(&label, problem);
                continue;
            }
        };
        let (module, info) = match check::check(&expanded, &variant) {
            Ok(checked) => checked,
            Err(problem) => {
                report.add(&label, problem);
                continue;
            }
        };
        let mut found = Vec::new();
        let entry_points = reflect::entry_points(&module, &info, &expanded, &mut found);
        limits::check(&entry_points, &variant, &expanded, &mut found);
        layouts.add(&module, &variant, &expanded, &mut found);
        for problem in found {
            report.add(&label, problem);
        }
        shaders.push(Shader {
            variant,
            wgsl: expanded.text,
            entry_points,
        });
    }
    report.into_result(Library {
        shaders,
        params: layouts.into_params(),
    })
}
