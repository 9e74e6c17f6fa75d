//! Files that are whole or not there: written under a temporary name, synced, renamed.

use std::io::{self, Write};
use std::path::Path;

use anylora_checkpoint::without_path;

/// Writes `bytes` to `path`. On an error what was at `path` is still there.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let mut file = tempfile::Builder::new()
        .prefix(".writing-")
        .tempfile_in(folder.unwrap_or(Path::new(".")))
        .map_err(without_path)?;
    file.as_file_mut().write_all(bytes)?;
    file.as_file().sync_all()?;
    readable(file.path())?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

/// Makes a folder at `path` out of what `fill` writes into it. Nothing is at `path` before that is done; a folder
/// that was there is replaced.
pub(crate) fn write_folder<E: From<io::Error>>(
    path: &Path,
    fill: impl FnOnce(&Path) -> Result<(), E>,
) -> Result<(), E> {
    let parent = path.parent().unwrap_or(Path::new("."));
    let folder = tempfile::Builder::new()
        .prefix(".writing-")
        .tempdir_in(parent)
        .map_err(without_path)?;
    fill(folder.path())?;
    readable(folder.path())?;
    for entry in std::fs::read_dir(folder.path())? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            std::fs::File::open(entry.path())?.sync_all()?;
        }
    }
    // A folder can't be renamed over another: the old one steps aside, and is whole until the new one is there.
    let old = path.exists().then(|| folder.path().with_extension("old"));
    if let Some(old) = &old {
        std::fs::rename(path, old)?;
    }
    std::fs::rename(folder.keep(), path)?;
    sync_folder(parent);
    if let Some(old) = old {
        std::fs::remove_dir_all(old)?;
    }
    Ok(())
}

/// Temporary files are for their owner only; what they become is for whom the umask says. That can't be asked for
/// without changing it, so the usual one is taken.
#[cfg(unix)]
fn readable(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let mode = if path.is_dir() { 0o755 } else { 0o644 };
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
}

#[cfg(not(unix))]
fn readable(_path: &Path) -> io::Result<()> {
    Ok(())
}

/// A rename is on disk once its folder is. Not every system lets a folder be opened: then it is left to the system.
fn sync_folder(folder: &Path) {
    if let Ok(folder) = std::fs::File::open(folder) {
        folder.sync_all().ok();
    }
}
