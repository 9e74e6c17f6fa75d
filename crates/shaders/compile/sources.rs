//! The shaders folder, read into memory.

use super::{Problem, Report, Variant};
use std::collections::BTreeMap;
use std::path::Path;
use std::{fs, io};

/// Texts by name; the tests write them by hand instead of reading a folder.
#[derive(Debug, Default)]
pub struct Sources {
    /// The folder's own name, which is how messages call it.
    pub folder: String,
    pub variants: String,
    /// `NAME.wgsl` at the top level, by NAME.
    pub kernels: BTreeMap<String, String>,
    /// `shared/NAME.wgsl`, by NAME.
    pub shared: BTreeMap<String, String>,
}

impl Sources {
    pub fn read(folder: &Path) -> Result<Self, Report> {
        let name = folder
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let failed =
            |path: String, error: io::Error| Report::from(Problem::new(path, None, error.to_string()));
        let mut sources = Self {
            folder: name,
            ..Self::default()
        };
        let path = sources.path("variants");
        sources.variants = fs::read_to_string(folder.join("variants")).map_err(|e| failed(path, e))?;
        sources.kernels = wgsl_files(folder).map_err(|e| failed(sources.folder.clone(), e))?;
        let shared = folder.join("shared");
        if shared.is_dir() {
            sources.shared = wgsl_files(&shared).map_err(|e| failed(sources.path("shared"), e))?;
        }
        Ok(sources)
    }

    /// The path that messages show for a file of the folder.
    pub fn path(&self, file: &str) -> String {
        format!("{}/{file}", self.folder)
    }

    /// A file without a kernel line is as wrong as a kernel line without a file.
    pub fn match_kernels(&self, variants: &[Variant], report: &mut Report) {
        for name in self.kernels.keys() {
            if !variants.iter().any(|variant| variant.kernel == *name) {
                let message = format!("no `kernel {name}` line in {}", self.path("variants"));
                report
                    .0
                    .push(Problem::new(self.path(&format!("{name}.wgsl")), None, message));
            }
        }
        let mut last = "";
        for variant in variants {
            if variant.kernel != last && !self.kernels.contains_key(&variant.kernel) {
                let message = format!("there is no {}", self.path(&format!("{}.wgsl", variant.kernel)));
                report
                    .0
                    .push(Problem::new(self.path("variants"), Some(variant.line), message));
            }
            last = &variant.kernel;
        }
    }
}

fn wgsl_files(folder: &Path) -> io::Result<BTreeMap<String, String>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "wgsl") {
            let name = path
                .file_stem()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            files.insert(name, fs::read_to_string(&path)?);
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::super::compile;
    use super::*;

    #[test]
    fn files_and_kernel_lines_must_match() {
        let mut sources = Sources {
            folder: "shaders".into(),
            ..Sources::default()
        };
        sources.variants = "kernel here\n\nkernel gone A=1|2\n".into();
        let text = "@compute @workgroup_size(1) fn main() {}\n";
        sources.kernels.insert("here".into(), text.into());
        sources.kernels.insert("unlisted".into(), text.into());
        let report = compile(&sources).unwrap_err().to_string();
        assert!(
            report.contains("shaders/unlisted.wgsl: no `kernel unlisted` line"),
            "{report}"
        );
        assert!(
            report.contains("shaders/variants:3: there is no shaders/gone.wgsl"),
            "{report}"
        );
        assert!(report.ends_with("2 problem(s) in the shaders"), "{report}");
    }

    #[test]
    fn a_folder_is_read() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sample");
        let sources = Sources::read(&folder).unwrap();
        assert_eq!(sources.folder, "sample");
        assert_eq!(sources.kernels.keys().collect::<Vec<_>>(), ["scale", "sum"]);
        assert_eq!(sources.shared.keys().collect::<Vec<_>>(), ["grid", "reduce"]);
        let library = compile(&sources).map_err(|report| panic!("{report}")).unwrap();
        assert_eq!(library.shaders.len(), 4);
        assert!(Sources::read(&folder.join("none")).is_err());
    }
}
