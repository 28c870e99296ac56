//! A lock between processes for a file that is read, changed and replaced.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// The exclusive right to change a file, held until this is dropped.
///
/// The lock is on a file of its own beside the one that is changed (`.NAME.lock`), as the changed one is replaced by a
/// rename. The operating system gives it back when the process ends, however it ends; a lock file that a killed process
/// left behind is used by the next. A second lock on the same file within one process waits as well.
#[derive(Debug)]
pub struct FileLock {
    path: PathBuf,
    /// None on a file system without locks.
    file: Option<File>,
}

impl FileLock {
    /// Waits until nobody else has the lock for the file at `path`, which need not exist; its folder must. On a file
    /// system without locks nothing is locked: what is changed must then be compared before it is replaced.
    ///
    /// # Errors
    /// Where the lock file cannot be made in the folder.
    pub fn acquire(path: &Path) -> io::Result<Self> {
        let lock = lock_file(path)?;
        loop {
            let file = OpenOptions::new().write(true).create(true).truncate(false).open(&lock)?;
            match file.lock() {
                Ok(()) if is_still(&file, &lock)? => return Ok(Self { path: lock, file: Some(file) }),
                // Whoever had it before has removed it: the next one has another lock file.
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::Unsupported => return Ok(Self { path: lock, file: None }),
                Err(error) => return Err(error),
            }
        }
    }
}

impl Drop for FileLock {
    fn drop(&mut self) {
        // Removed while it is locked, so that it is nobody else's. One that stays does no harm.
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

/// Whether the open file is the one that the path names.
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

    /// Each thread reads a number, adds one and replaces the file: without the lock, additions are lost.
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
