//! A lock file that shows whether the process that made it is still running.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Write as _};
use std::path::Path;

use crate::is_still;

/// A locked file. The operating system releases the lock when the process ends in any way, and not before: a stopped
/// process keeps it. The file remains until another process removes it with [`remove_free`]. The name of the file must
/// be new for each process, so that a process id that is used again has no effect.
#[derive(Debug)]
pub struct ProcessLock {
    _file: File,
}

impl ProcessLock {
    /// Makes and locks a file, and writes the id of this process into it, for people. None on a file system without
    /// locks.
    ///
    /// # Errors
    /// If the file cannot be made.
    pub fn hold(path: &Path) -> io::Result<Option<Self>> {
        loop {
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(path)?;
            match file.try_lock() {
                // Another process may have found the file before it was locked, and removed it.
                Ok(()) if is_still(&file, path)? => {
                    writeln!(file, "{}", std::process::id())?;
                    return Ok(Some(Self { _file: file }));
                }
                Ok(()) | Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Unsupported => {
                    fs::remove_file(path)?;
                    return Ok(None);
                }
                Err(TryLockError::Error(error)) => return Err(error),
            }
        }
    }
}

/// Whether no process holds the lock of a file. A file that does not exist is not free: it was never locked, or its
/// process has ended properly.
///
/// # Errors
/// If the file cannot be read.
pub fn is_free(path: &Path) -> io::Result<bool> {
    let file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        file => file?,
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Unsupported => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Removes a lock file that no process holds. Returns whether it was removed.
///
/// # Errors
/// If the file cannot be removed.
pub fn remove_free(path: &Path) -> io::Result<bool> {
    let file = match OpenOptions::new().write(true).open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        file => file?,
    };
    // The file is removed while it is locked, so that its maker, if it has not locked it yet, makes another one.
    match file.try_lock() {
        Ok(()) => fs::remove_file(path).map(|()| true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lock_is_free_when_its_holder_has_ended() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.lock");
        assert!(!is_free(&path).unwrap(), "nothing has ended");
        let held = ProcessLock::hold(&path).unwrap().unwrap();
        assert!(!is_free(&path).unwrap());
        assert!(!remove_free(&path).unwrap(), "it is held");
        assert_eq!(fs::read_to_string(&path).unwrap().trim(), std::process::id().to_string());
        drop(held);
        assert!(is_free(&path).unwrap());
        assert!(remove_free(&path).unwrap());
        assert!(!path.exists());
    }
}
