//! Libraries that take the place of NVIDIA's, compiled by the system's C compiler.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The driver's library.
pub(crate) enum Driver {
    /// With all that the engine calls.
    Whole,
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

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/driver")
        .join(name)
}

/// The functions of the stand-in for the driver.
pub(crate) fn functions() -> Vec<String> {
    let text = fs::read_to_string(source("libcuda.c")).unwrap();
    let names = text.lines().filter_map(|line| line.strip_prefix("Result cu"));
    let names = names.filter_map(|rest| rest.split_once('('));
    names.map(|(name, _)| format!("cu{name}")).collect()
}

impl StandIn {
    pub(crate) fn new(driver: Driver, compilers: &[Nvrtc]) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("driver-{}-{number}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let stand_in = Self { folder };
        let hidden = match &driver {
            Driver::Whole => None,
            Driver::Without(name) => Some(name.as_str()),
        };
        stand_in.compile("libcuda.c", "libcuda.so", hidden, 0);
        // In the order in which the engine asks for them.
        for (compiler, name) in compilers.iter().zip(["libnvrtc.so", "libnvrtc.so.13"]) {
            match compiler {
                Nvrtc::Version(version) => stand_in.compile("libnvrtc.c", name, None, *version),
                Nvrtc::Missing(function) => stand_in.compile("libnvrtc.c", name, Some(function), 12),
            }
        }
        stand_in
    }

    fn compile(&self, file: &str, library: &str, hidden: Option<&str>, version: u32) {
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
            .arg(source(file))
            .arg("-lpthread");
        let output = command.output().expect("a C compiler");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    /// Runs the test `child` in a process that finds these libraries, and gives back what it printed.
    pub(crate) fn run(&self, what: &str, settings: &[(&str, &str)]) -> String {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child::child", "--ignored", "--nocapture"])
            .env_clear()
            .env("LD_LIBRARY_PATH", &self.folder)
            .env("ANYLORA_CHILD", what)
            .envs(settings.iter().copied())
            .output()
            .unwrap();
        let text = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
        let text = text.concat();
        assert!(
            output.status.success(),
            "{what}, {settings:?}: {}\n{text}",
            output.status
        );
        assert!(text.contains("1 passed"), "{text}");
        text
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}
