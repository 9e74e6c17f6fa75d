//! Files that are there whole or not at all. Native only.
//!
//! A file is written under a temporary name in the same folder, brought to the disk, and renamed.

mod model;

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use tempfile::{Builder, NamedTempFile, TempDir};

pub use self::model::ModelWriter;
use crate::{CheckpointError, Result};

/// Writes a file by `write`. Whatever fails or kills the program, `path` holds what it held before or the whole new
/// file.
///
/// # Errors
/// The error of `write`; [`CheckpointError::Io`].
pub fn write_atomically(path: &Path, write: impl FnOnce(&mut BufWriter<&File>) -> Result<()>) -> Result<()> {
    let file = temporary_file(path)?;
    let mut out = BufWriter::new(file.as_file());
    write(&mut out)?;
    out.flush().map_err(CheckpointError::io(path))?;
    drop(out);
    file.as_file().sync_all().map_err(CheckpointError::io(path))?;
    file.persist(path)
        .map_err(|error| CheckpointError::io(path)(error.error))?;
    sync_folder(parent(path))
}

/// Writes a folder of files. One that is not there appears with all of them; in one that is there, each file is
/// replaced as [`write_atomically`] does, in the order given.
pub(crate) fn folder(path: &Path, files: &[(&str, &[u8])]) -> Result<()> {
    let write = |folder: &Path| {
        files.iter().try_for_each(|(name, bytes)| {
            let file = folder.join(name);
            write_atomically(&file, |out| {
                out.write_all(bytes).map_err(CheckpointError::io(&file))
            })
        })
    };
    if path.is_dir() {
        return write(path);
    }
    let temporary = temporary_folder(path)?;
    write(temporary.path())?;
    appear(temporary, path)
}

/// The folder that holds `path`.
fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

/// `.NAME.` as the start of a temporary name, so that what a killed program leaves can be told from the rest.
fn prefix(path: &Path) -> std::ffi::OsString {
    let mut prefix = std::ffi::OsString::from(".");
    prefix.push(path.file_name().unwrap_or(OsStr::new("anylora")));
    prefix.push(".");
    prefix
}

fn temporary_file(path: &Path) -> Result<NamedTempFile> {
    std::fs::create_dir_all(parent(path)).map_err(CheckpointError::io(parent(path)))?;
    let prefix = prefix(path);
    let mut builder = Builder::new();
    builder.prefix(&prefix).suffix(".tmp");
    // The usual rights rather than those of a secret, less the user's umask.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder
        .tempfile_in(parent(path))
        .map_err(|error| CheckpointError::io(path)(without_path(error)))
}

/// The system's error out of one that names a temporary file, which nobody knows.
pub fn without_path(error: io::Error) -> io::Error {
    let inner = error.get_ref().and_then(std::error::Error::source);
    let code = inner
        .and_then(|inner| inner.downcast_ref::<io::Error>())
        .and_then(io::Error::raw_os_error);
    code.map_or(error, io::Error::from_raw_os_error)
}

/// A folder beside `path`, which vanishes unless [`appear`] is called.
pub(crate) fn temporary_folder(path: &Path) -> Result<TempDir> {
    std::fs::create_dir_all(parent(path)).map_err(CheckpointError::io(parent(path)))?;
    let prefix = prefix(path);
    let mut builder = Builder::new();
    builder.prefix(&prefix).suffix(".tmp");
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o777));
    builder
        .tempdir_in(parent(path))
        .map_err(|error| CheckpointError::io(path)(without_path(error)))
}

/// Gives a finished folder its name, at which there is nothing or an empty folder.
pub(crate) fn appear(temporary: TempDir, path: &Path) -> Result<()> {
    sync_folder(temporary.path())?;
    if path.is_dir() {
        std::fs::remove_dir(path).map_err(CheckpointError::io(path))?;
    }
    std::fs::rename(temporary.path(), path).map_err(CheckpointError::io(path))?;
    // The folder has another name now: nothing is left to delete.
    let _ = temporary.keep();
    sync_folder(parent(path))
}

/// Brings a folder's list of names to the disk, where the system has such a thing.
fn sync_folder(path: &Path) -> Result<()> {
    if cfg!(unix) {
        let folder = File::open(path).map_err(CheckpointError::io(path))?;
        folder.sync_all().map_err(CheckpointError::io(path))?;
    }
    Ok(())
}
