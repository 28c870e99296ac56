//! Files that become blobs atomically.

use std::fs::{self, File, OpenOptions};
use std::io::ErrorKind as Io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use goldfleet_ports::error::{ErrorKind, PortError, PortResult};
use uuid::Uuid;

use super::paths::{BlobPath, ContainerPath};

/// The age at which a temporary file counts as left behind by a killed process. No write takes this long.
const ABANDONED_AGE: Duration = Duration::from_secs(60 * 60);

/// The maximum number of times to recreate a blob's folder after a concurrent deletion of the last other blob removed
/// it.
const ATTEMPTS: u32 = 16;

/// A file that will become a blob. Dropping it deletes it; [`TempBlob::publish`] links it to its final name first.
pub(super) struct TempBlob {
    path: PathBuf,
    /// The file, open for writing.
    pub(super) file: File,
}

impl TempBlob {
    /// Creates a file in the blob's account.
    ///
    /// # Errors
    /// `AlreadyExists` if a blob with that name exists, so that most losers of a race do not write unnecessarily.
    pub(super) fn create(blob_path: &BlobPath) -> PortResult<Self> {
        blob_path.container.check_exists()?;
        if blob_path.stat()?.is_some() {
            return Err(already_exists(blob_path));
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

    /// Makes the file the blob, if no blob with that name exists. This uses a hard link instead of a rename, because
    /// only a link fails on every file system if the name is taken.
    pub(super) fn publish(self, blob_path: &BlobPath) -> PortResult<()> {
        for _ in 0..ATTEMPTS {
            if let Some(parent) = blob_path.file.parent() {
                fs::create_dir_all(parent).map_err(|error| blob_path.io_error("make the folder of", error))?;
            }
            match fs::hard_link(&self.path, &blob_path.file) {
                Ok(()) => return Ok(()),
                Err(error) if error.kind() == Io::AlreadyExists && !blob_path.file.is_dir() => {
                    return Err(already_exists(blob_path));
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
        // If this fails, `remove_abandoned` deletes the file later.
        let _ = fs::remove_file(&self.path);
    }
}

/// The error for a blob that exists already.
pub(super) fn already_exists(blob_path: &BlobPath) -> PortError {
    PortError::new(ErrorKind::AlreadyExists, format!("there is a blob {} already", blob_path.blob))
}

/// Deletes the files that killed processes left behind. Errors are ignored, because such files only cost space.
pub(super) fn remove_abandoned(home: &ContainerPath) {
    let Ok(entries) = fs::read_dir(home.temporary()) else { return };
    for path in entries.filter_map(Result::ok).map(|entry| entry.path()) {
        // If a container has the name `tmp`, its sidecars are in this folder too.
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
