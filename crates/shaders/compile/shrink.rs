//! What a browser downloads: no variant that it can't run, and no comments.

use super::Library;

impl Library {
    /// Leaves out the variants that no browser runs here (wgpu gives it neither subgroups nor cooperative matrices) and
    /// those of training, which the page doesn't do; and takes comments and indentation out of the text of the others.
    pub fn shrink_for_browsers(&mut self) {
        self.shaders.retain(|shader| {
            let needs = shader.variant.needs;
            let define = |name: &str, value: &str| shader.variant.define(name) == Some(value);
            let trains = TRAINING.contains(&shader.variant.kernel.as_str())
                || define("DIRECTION", "backward")
                || define("DROPOUT", "philox")
                || define("SIDE", "b");
            !needs.subgroups && !needs.cooperative_matrix && !define("MMA", "emulated") && !trains
        });
        for shader in &mut self.shaders {
            shader.wgsl = shrink(&shader.wgsl);
        }
    }
}

/// Kernels that only training launches.
const TRAINING: [&str; 6] = [
    "adamw",
    "attention_backward",
    "attention_delta",
    "cross_entropy",
    "lora_grad",
    "reduce",
];

/// The same WGSL without comments, indentation and empty lines. WGSL has no text literals that could hold a `//`.
fn shrink(wgsl: &str) -> String {
    let mut out = String::new();
    for line in wgsl.lines() {
        let code = line.split_once("//").map_or(line, |(code, _)| code).trim();
        if !code.is_empty() {
            out.push_str(code);
            out.push('\n');
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::{Sources, compile};
    use super::*;

    #[test]
    fn comments_go_and_code_stays() {
        let wgsl = "// a kernel\n\n@compute @workgroup_size(4) // four\nfn main() {\n    let x = 6u / 2u;\n    /* not here */\n}\n";
        let expected = "@compute @workgroup_size(4)\nfn main() {\nlet x = 6u / 2u;\n/* not here */\n}\n";
        assert_eq!(shrink(wgsl), expected);
    }

    #[test]
    fn only_what_a_browser_runs_stays() {
        let mut sources = Sources {
            folder: "shaders".into(),
            variants: "needs R=subgroup subgroups\nkernel k R=workgroup|subgroup DIRECTION=forward|backward\nkernel adamw".into(),
            ..Sources::default()
        };
        let kernel = "@compute @workgroup_size(4) fn main() { }\n";
        sources.kernels.insert("k".into(), kernel.into());
        sources.kernels.insert("adamw".into(), kernel.into());
        let mut library = compile(&sources).unwrap();
        library.shrink_for_browsers();
        let left: Vec<_> = library
            .shaders
            .iter()
            .map(|shader| shader.variant.label())
            .collect();
        assert_eq!(left, ["k R=workgroup DIRECTION=forward"]);
    }
}
