//! Files that become blobs whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::ErrorKind as Io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use goldfleet_ports::blob_store::blob_exists;
use goldfleet_ports::error::{ErrorKind, PortError, PortResult};
use uuid::Uuid;

use super::paths::{BlobPath, ContainerPath};

/// The age at which a temporary file is taken for one that a killed process left. No write takes this long.
const ABANDONED_AGE: Duration = Duration::from_secs(60 * 60);

/// How often to make a blob's folder again when its last neighbour's removal takes the folder away.
const ATTEMPTS: u32 = 16;

/// A file on its way to become a blob. It goes when dropped; [`TempBlob::publish`] gives it its second, lasting name.
pub(super) struct TempBlob {
    path: PathBuf,
    /// The file, open for writing.
    pub(super) file: File,
}

impl TempBlob {
    /// A new file in the blob's account.
    ///
    /// # Errors
    /// `AlreadyExists` where there is a blob of that name: most losers of a race need not write in vain.
    pub(super) fn create(blob_path: &BlobPath) -> PortResult<Self> {
        blob_path.container.check_exists()?;
        if blob_path.stat()?.is_some() {
            return Err(blob_exists(&blob_path.blob));
        }
        let folder = blob_path.container.temporary();
        fs::create_dir_all(&folder).map_err(|error| blob_path.io_error("write", error))?;
        let path = folder.join(Uuid::new_v4().simple().to_string());
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&path)
            .map_err(|error| blob_path.io_error("write", error))?;
        Ok(Self { path, file })
    }

    /// Makes the file the blob, only if there is none of that name. A link and not a renaming, as only a link is
    /// refused where the name is taken, on every file system.
    pub(super) fn publish(self, blob_path: &BlobPath) -> PortResult<()> {
        for _ in 0..ATTEMPTS {
            if let Some(parent) = blob_path.file.parent() {
                fs::create_dir_all(parent).map_err(|error| blob_path.io_error("make the folder of", error))?;
            }
            match fs::hard_link(&self.path, &blob_path.file) {
                Ok(()) => return Ok(()),
                Err(error) if error.kind() == Io::AlreadyExists && !blob_path.file.is_dir() => {
                    return Err(blob_exists(&blob_path.blob));
                }
                Err(error) if error.kind() == Io::NotFound => {}
                Err(error) => return Err(blob_path.io_error("write", error)),
            }
        }
        let message = format!("{}: its folder vanished {ATTEMPTS} times", blob_path.blob);
        Err(PortError::new(ErrorKind::Unavailable, message))
    }
}

impl Drop for TempBlob {
    fn drop(&mut self) {
        // What can't be removed now is removed by `remove_abandoned`.
        let _ = fs::remove_file(&self.path);
    }
}

/// Removes what killed processes left. It does so best-effort: what stays costs space and nothing else.
pub(super) fn remove_abandoned(home: &ContainerPath) {
    let Ok(entries) = fs::read_dir(home.temporary()) else { return };
    for path in entries.filter_map(Result::ok).map(|entry| entry.path()) {
        // A container may be called `tmp`, and its sidecars then lie here too.
        if path.extension().is_none() && is_abandoned(&path) {
            let _ = fs::remove_file(&path);
        }
    }
}

fn is_abandoned(path: &Path) -> bool {
    fs::metadata(path)
        .and_then(|found| if found.is_file() { found.modified() } else { Err(Io::IsADirectory.into()) })
        .is_ok_and(|modified| modified.elapsed().is_ok_and(|age| age > ABANDONED_AGE))
}
