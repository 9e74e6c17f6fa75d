//! Libraries that take the place of NVIDIA's, compiled by the system's C compiler.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

/// The sources.
pub(crate) const LIBCUDA: &str = include_str!("libcuda.c");
const LIBNVRTC: &str = include_str!("libnvrtc.c");

/// The driver's library.
pub(crate) enum Driver {
    /// With all that the engine calls.
    Whole,
    /// The same by the one name that it has in containers.
    Numbered,
    /// But for this function.
    Without(String),
}

/// The run-time compiler's library.
pub(crate) enum Nvrtc {
    /// Of this major version.
    Version(u32),
    /// Without this function.
    Missing(&'static str),
}

/// A folder with such libraries.
pub(crate) struct StandIn {
    folder: PathBuf,
}

impl StandIn {
    pub(crate) fn new(driver: Driver, compilers: &[Nvrtc]) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("driver-{}-{number}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let stand_in = Self { folder };
        let (name, hidden) = match &driver {
            Driver::Whole => ("libcuda.so", None),
            Driver::Numbered => ("libcuda.so.1", None),
            Driver::Without(function) => ("libcuda.so", Some(function.as_str())),
        };
        stand_in.compile(LIBCUDA, name, hidden, 0);
        // In the order in which the engine asks for them.
        for (compiler, name) in compilers.iter().zip(["libnvrtc.so", "libnvrtc.so.13"]) {
            match compiler {
                Nvrtc::Version(version) => stand_in.compile(LIBNVRTC, name, None, *version),
                Nvrtc::Missing(function) => stand_in.compile(LIBNVRTC, name, Some(function), 12),
            }
        }
        stand_in
    }

    /// Where they are: for `LD_LIBRARY_PATH`.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    fn compile(&self, source: &str, library: &str, hidden: Option<&str>, version: u32) {
        let mut command = Command::new("cc");
        command.args(["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror"]);
        command.arg(format!("-DVERSION={version}"));
        if let Some(function) = hidden {
            let map = self.folder.join("hidden.map");
            fs::write(&map, format!("{{ local: {function}; }};\n")).unwrap();
            command.arg(format!("-Wl,--version-script={}", map.display()));
        }
        command
            .arg("-o")
            .arg(self.folder.join(library))
            .args(["-x", "c", "-", "-lpthread"])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("a C compiler");
        child.stdin.take().unwrap().write_all(source.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}
