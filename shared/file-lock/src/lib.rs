//! Locks between processes: for a file that is read, changed and replaced, and for the life of a process.

mod process_lock;

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

pub use process_lock::{ProcessLock, is_free, remove_free};

/// The exclusive right to change a file. It ends when it is dropped.
///
/// The lock is on a separate file next to the changed file (`.NAME.lock`), because the changed file is replaced by a
/// rename. The operating system releases the lock when the process ends, also after a crash. A lock file that a killed
/// process left behind is reused. A second lock on the same file within one process waits as well.
#[derive(Debug)]
pub struct FileLock {
    path: PathBuf,
    /// None on a file system without locks.
    file: Option<File>,
}

impl FileLock {
    /// Waits until no other process or thread holds the lock for the file at `path`. The file need not exist, but its
    /// folder must. On a file system without locks nothing is locked: callers must then compare the file before they
    /// replace it.
    ///
    /// # Errors
    /// If the lock file cannot be created in the folder.
    pub fn acquire(path: &Path) -> io::Result<Self> {
        let lock = lock_file(path)?;
        loop {
            let file = OpenOptions::new().write(true).create(true).truncate(false).open(&lock)?;
            match file.lock() {
                Ok(()) if is_still(&file, &lock)? => return Ok(Self { path: lock, file: Some(file) }),
                // The previous holder has removed this lock file, so a new one must be opened.
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::Unsupported => return Ok(Self { path: lock, file: None }),
                Err(error) => return Err(error),
            }
        }
    }
}

impl Drop for FileLock {
    fn drop(&mut self) {
        // The file is removed while it is still locked, so that no other holder's lock file is removed. A lock file
        // that remains is harmless.
        if self.file.is_some() {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn lock_file(path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or_else(|| io::Error::new(ErrorKind::InvalidInput, "the path names no file"))?;
    let mut lock = OsString::from(".");
    lock.push(name);
    lock.push(".lock");
    Ok(path.with_file_name(lock))
}

/// Whether the path still names the open file.
fn is_still(file: &File, path: &Path) -> io::Result<bool> {
    let open = file.metadata()?;
    match fs::metadata(path) {
        Ok(named) => Ok((named.dev(), named.ino()) == (open.dev(), open.ino())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::thread;

    use super::*;

    /// Each thread reads a number, adds one and replaces the file. Without the lock, additions would be lost.
    #[test]
    fn only_one_holds_the_lock() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("number");
        fs::write(&path, "0").unwrap();
        let (threads, rounds) = (8, 50);
        let barrier = Barrier::new(threads);
        thread::scope(|scope| {
            for thread in 0..threads {
                let (path, barrier) = (&path, &barrier);
                scope.spawn(move || {
                    barrier.wait();
                    for _ in 0..rounds {
                        let _lock = FileLock::acquire(path).unwrap();
                        let number: usize = fs::read_to_string(path).unwrap().parse().unwrap();
                        let next = path.with_extension(thread.to_string());
                        fs::write(&next, (number + 1).to_string()).unwrap();
                        fs::rename(&next, path).unwrap();
                    }
                });
            }
        });
        assert_eq!(fs::read_to_string(&path).unwrap(), (threads * rounds).to_string());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no lock file is left");
    }

    #[test]
    fn a_lock_file_that_was_left_behind_is_used() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("targets.toml");
        fs::write(folder.path().join(".targets.toml.lock"), "").unwrap();
        drop(FileLock::acquire(&path).unwrap());
        drop(FileLock::acquire(&path).unwrap());
    }
}
