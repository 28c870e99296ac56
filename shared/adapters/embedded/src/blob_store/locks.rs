//! Locks on files, which hold across processes and end with the process that has them, however it ends.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use goldfleet_ports::error::{ErrorKind, PortError, PortResult};

use super::paths::BlobPath;

/// How long to try. Who holds a lock longer than a write takes is stopped, and may stay so: the caller comes back later.
const LOCK_TIMEOUT: Duration = Duration::from_secs(2);

/// The time between two tries. It is constant and not a back-off: a lock is held for milliseconds, on this machine.
const RETRY_INTERVAL: Duration = Duration::from_millis(2);

/// Who may hold a lock at the same time.
#[derive(Debug, Clone, Copy)]
pub(super) enum LockMode {
    /// Others that are `Shared` too.
    Shared,
    /// No one.
    Exclusive,
}

/// Opens and locks the file at `path`, which belongs to the blob at `blob_path`; none where there is no such file.
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
        // The one who had the lock before may have removed the file: a lock on that one would guard nothing.
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
                // A process that was stopped in the middle of a write goes on, or is killed; both take a while.
                let busy = PortError::new(ErrorKind::Unavailable, message).with_code("blob-busy");
                return Err(busy.with_retry_after(Duration::from_secs(2)));
            }
        }
    }
}
