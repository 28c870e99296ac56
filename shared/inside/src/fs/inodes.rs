//! File systems whose crates find an inode by a path and read by inode: XFS and btrfs.

use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;

use super::{DirEntry, FileKind, FileReader, FsError, FsInfo, MAX_ENTRIES, Stat};
use crate::budget::Budget;

/// What a crate offers. Paths are absolute; no method follows links.
pub(super) trait InodeReader {
    /// Names a file in the calls of the crate.
    type Inode: Copy;
    /// Why a call of the crate failed.
    type Error;

    /// Finds what a path names.
    fn find(&mut self, path: &str) -> Result<(Self::Inode, Stat), Self::Error>;

    /// The names in a folder, and what they are.
    fn entries(&mut self, path: &str) -> Result<Vec<(Vec<u8>, FileKind)>, Self::Error>;

    /// The target of a symbolic link.
    fn target(&mut self, path: &str) -> Result<Vec<u8>, Self::Error>;

    /// Reads from `offset` of a file into `buffer`. Returns how many bytes were read.
    fn read_at(&mut self, inode: &Self::Inode, offset: u64, buffer: &mut [u8]) -> Result<usize, Self::Error>;

    /// What an error means.
    fn error(error: Self::Error) -> FsError;
}

/// A file system over the reader of a crate.
pub(super) struct Inodes<R: InodeReader> {
    reader: RefCell<R>,
    pub(super) info: FsInfo,
    budget: Arc<Budget>,
    /// The last path that was found. A caller often asks what a file is before it opens it, and a crate searches every folder of
    /// the path each time.
    last: RefCell<Option<(String, R::Inode, Stat)>>,
}

impl<R: InodeReader> fmt::Debug for Inodes<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inodes").field("info", &self.info).finish_non_exhaustive()
    }
}

impl<R: InodeReader> Inodes<R> {
    pub(super) fn new(reader: R, info: FsInfo, budget: Arc<Budget>) -> Self {
        Self { reader: RefCell::new(reader), info, budget, last: RefCell::default() }
    }

    fn call<T>(&self, call: impl FnOnce(&mut R) -> Result<T, R::Error>) -> Result<T, FsError> {
        call(&mut self.reader.borrow_mut()).map_err(|error| explain::<R>(&self.budget, error))
    }

    fn find(&self, path: &str) -> Result<(R::Inode, Stat), FsError> {
        if let Some((_, inode, stat)) = self.last.borrow().as_ref().filter(|last| last.0 == path) {
            return Ok((*inode, *stat));
        }
        let (inode, stat) = self.call(|reader| reader.find(path))?;
        *self.last.borrow_mut() = Some((path.to_owned(), inode, stat));
        Ok((inode, stat))
    }

    pub(super) fn stat(&self, path: &str) -> Result<Stat, FsError> {
        Ok(self.find(path)?.1)
    }

    pub(super) fn list(&self, path: &str) -> Result<Vec<DirEntry>, FsError> {
        if self.stat(path)?.kind != FileKind::Directory {
            return Err(FsError::WrongKind("folder"));
        }
        let entries = self.call(|reader| reader.entries(path))?;
        if entries.len() > MAX_ENTRIES {
            return Err(FsError::Unsupported(format!("a folder with more than {MAX_ENTRIES} entries")));
        }
        let entry = |(name, kind): &(Vec<u8>, _)| DirEntry { name: lossy(name), kind: *kind };
        Ok(entries.iter().map(entry).collect())
    }

    pub(super) fn link(&self, path: &str) -> Result<String, FsError> {
        self.call(|reader| reader.target(path)).map(|target| lossy(&target))
    }

    pub(super) fn open(&self, path: &str) -> Result<Box<dyn FileReader + '_>, FsError> {
        let (inode, stat) = self.find(path)?;
        if stat.kind != FileKind::File {
            return Err(FsError::WrongKind("regular file"));
        }
        Ok(Box::new(Open { fs: self, inode, size: stat.size }))
    }
}

/// An error of a crate. A reader that exceeds a limit fails too, and the crates hide why.
pub(super) fn explain<R: InodeReader>(budget: &Budget, error: R::Error) -> FsError {
    budget.stopped().map_or_else(|| R::error(error), FsError::Stopped)
}

fn lossy(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}

struct Open<'a, R: InodeReader> {
    fs: &'a Inodes<R>,
    inode: R::Inode,
    size: u64,
}

impl<R: InodeReader> FileReader for Open<'_, R> {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> Result<usize, FsError> {
        self.fs.budget.check()?;
        if offset >= self.size || buffer.is_empty() {
            return Ok(0);
        }
        self.fs.call(|reader| reader.read_at(&self.inode, offset, buffer))
    }
}
