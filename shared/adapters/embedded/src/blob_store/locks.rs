//! File locks. They work across processes and are released when their process ends, for any reason.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use goldfleet_ports::error::{ErrorKind, PortError, PortResult};

use super::paths::BlobPath;

/// The timeout of taking a lock. A process that holds a lock for longer than a write takes is stopped and may stay
/// stopped, so the caller tries again later.
const LOCK_TIMEOUT: Duration = Duration::from_secs(2);

const RETRY_INTERVAL: Duration = Duration::from_millis(2);

/// Who else may hold the lock at the same time.
#[derive(Debug, Clone, Copy)]
pub(super) enum LockMode {
    /// Other holders with `Shared`.
    Shared,
    /// No other holder.
    Exclusive,
}

/// Opens and locks the file at `path`, which belongs to the blob at `blob_path`. Returns None if the file does not
/// exist.
pub(super) fn open_locked(
    blob_path: &BlobPath,
    path: &Path,
    options: &OpenOptions,
    mode: LockMode,
) -> PortResult<Option<File>> {
    let doing = format!("lock {}", blob_path.blob.name);
    loop {
        let Some(file) = blob_path.container.optional(&doing, options.open(path))? else { return Ok(None) };
        lock(blob_path, &file, mode)?;
        // The previous holder of the lock may have deleted the file. A lock on a deleted file would protect nothing.
        let locked = file.metadata().map_err(|error| blob_path.io_error("look at", error))?;
        match blob_path.container.optional(&doing, std::fs::metadata(path))? {
            Some(present) if (present.dev(), present.ino()) == (locked.dev(), locked.ino()) => return Ok(Some(file)),
            _ => {}
        }
    }
}

fn lock(blob_path: &BlobPath, file: &File, mode: LockMode) -> PortResult<()> {
    let deadline = Instant::now() + LOCK_TIMEOUT;
    loop {
        let tried = match mode {
            LockMode::Shared => file.try_lock_shared(),
            LockMode::Exclusive => file.try_lock(),
        };
        match tried {
            Ok(()) => return Ok(()),
            Err(TryLockError::Error(error)) => return Err(blob_path.io_error("lock", error)),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => thread::sleep(RETRY_INTERVAL),
            Err(TryLockError::WouldBlock) => {
                let message = format!("{} is being written by someone who does not finish", blob_path.blob);
                // A process that was stopped during a write either continues or is killed. Both take some time.
                let busy = PortError::new(ErrorKind::Unavailable, message).with_code("blob-busy");
                return Err(busy.with_retry_after(Duration::from_secs(2)));
            }
        }
    }
}
