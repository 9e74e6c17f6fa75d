//! AnyLoRA's WGSL kernels, expanded, validated and reflected when this crate is built.
//!
//! The kernels are the `.wgsl` files of the repository's `shaders/` folder. `shaders/variants` lists
//! which variants of each are built; the text of each is in [`SHADERS`], checked by naga against the
//! device features that the variant needs, within WebGPU's default limits. A broken shader fails the
//! build with the file and line as written.
//!
//! # Shader files
//!
//! ```wgsl
//! #import reduce                    // shaders/shared/reduce.wgsl, once; imports nest
//! #if ACT == f16 && REDUCE != subgroup
//! enable f16;
//! #elif ACT == f32 || ACT == bf16   // && binds tighter; there are no parentheses
//! #else
//! #endif
//! var<workgroup> tile: array<#{ACT}, #{TILE}>;   // a define's value, anywhere in a line
//! ```
//!
//! Directives stand on lines of their own. A name that the variant does not define is an error.
//! Shared files are preprocessed with the same defines.
//!
//! A uniform `var<uniform> params: Params` becomes a Rust struct of the same layout: [`params`]. Its
//! members are u32, i32, f32, vectors and arrays of them; a `// comment` on a member's line is its
//! documentation. `params::Linear { m, k, ..Zeroable::zeroed() }` fills in the padding.
//!
//! # `shaders/variants`
//!
//! ```text
//! needs  ACT=f16       f16                 # defines, then f16, subgroups, cooperative_matrix
//! kernel rms_norm      DIRECTION=forward|backward ACT=f32|f16     # all combinations
//! skip   rms_norm      DIRECTION=backward ACT=f16                 # except these
//! ```
//!
//! A kernel may have several `kernel` lines with different axes. Every `.wgsl` file of the top level
//! has one at least.
//!
//! # Debugging
//!
//! `ANYLORA_DUMP_WGSL="$PWD/wgsl" cargo build -p anylora-shaders` writes the final text of every variant.

mod shader;

pub use shader::{Binding, BindingKind, EntryPoint, Needs, Shader, find};

include!(concat!(env!("OUT_DIR"), "/shaders.rs"));
