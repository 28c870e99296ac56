//! File systems whose crates find an inode by a path and read by inode: XFS and btrfs.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use super::{DirEntry, FileKind, FileReader, FsError, FsInfo, MAX_ENTRIES, Stat};
use crate::budget::Budget;

/// The most entries of folders that are kept in total.
const MAX_KEPT: usize = 100_000;

/// A name in a folder, as a crate lists it.
pub(super) struct Entry<I> {
    pub(super) name: Vec<u8>,
    pub(super) kind: FileKind,
    /// `None` if the crate lists names only.
    pub(super) inode: Option<I>,
}

/// What a crate offers. Paths are absolute; no method follows links.
pub(super) trait InodeReader {
    /// Names a file in the calls of the crate.
    type Inode: Copy;
    /// Why a call of the crate failed.
    type Error;
    /// Whether listing a folder once and keeping its entries is faster than finding each of its files by its path. Only
    /// for crates that list inodes.
    const KEEP_FOLDERS: bool;

    /// The inode that a path names.
    fn find(&mut self, path: &str) -> Result<Self::Inode, Self::Error>;

    /// The properties of an inode.
    fn stat(&mut self, inode: &Self::Inode) -> Result<Stat, Self::Error>;

    /// The entries of a folder.
    fn entries(&mut self, path: &str) -> Result<Vec<Entry<Self::Inode>>, Self::Error>;

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
    /// The last path that was found. A caller often asks what a file is before it opens it, and a crate searches every
    /// folder of the path each time.
    last: RefCell<Option<(String, R::Inode, Stat)>>,
    folders: RefCell<Folders<R::Inode>>,
}

/// The entries of folders that were listed.
struct Folders<I> {
    /// By the path of the folder. `None` for a folder that cannot be listed or is too large.
    known: HashMap<String, Option<HashMap<Vec<u8>, I>>>,
    /// How many entries are kept.
    kept: usize,
}

impl<I: Copy> Folders<I> {
    /// Keeps the entries of a folder unless they are known.
    fn keep_new(&mut self, folder: &str, entries: &[Entry<I>]) {
        if !self.known.contains_key(folder) {
            self.keep(folder, Some(entries));
        }
    }

    fn keep(&mut self, folder: &str, entries: Option<&[Entry<I>]>) {
        let entries = entries.filter(|entries| self.kept + entries.len() <= MAX_KEPT);
        let inodes = entries.and_then(|entries| {
            entries.iter().map(|entry| Some((entry.name.clone(), entry.inode?))).collect::<Option<HashMap<_, _>>>()
        });
        self.kept += inodes.as_ref().map_or(0, HashMap::len);
        self.known.insert(folder.to_owned(), inodes);
    }
}

impl<R: InodeReader> fmt::Debug for Inodes<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inodes").field("info", &self.info).finish_non_exhaustive()
    }
}

impl<R: InodeReader> Inodes<R> {
    pub(super) fn new(reader: R, info: FsInfo, budget: Arc<Budget>) -> Self {
        let folders = RefCell::new(Folders { known: HashMap::new(), kept: 0 });
        Self { reader: RefCell::new(reader), info, budget, last: RefCell::default(), folders }
    }

    fn call<T>(&self, call: impl FnOnce(&mut R) -> Result<T, R::Error>) -> Result<T, FsError> {
        call(&mut self.reader.borrow_mut()).map_err(|error| explain::<R>(&self.budget, error))
    }

    fn find(&self, path: &str) -> Result<(R::Inode, Stat), FsError> {
        if let Some((_, inode, stat)) = self.last.borrow().as_ref().filter(|last| last.0 == path) {
            return Ok((*inode, *stat));
        }
        let inode = match self.kept(path) {
            Some(inode) => inode.ok_or(FsError::NotFound)?,
            None => self.call(|reader| reader.find(path))?,
        };
        let stat = self.call(|reader| reader.stat(&inode))?;
        *self.last.borrow_mut() = Some((path.to_owned(), inode, stat));
        Ok((inode, stat))
    }

    /// The inode of a path if the entries of its folder are known: `Some(None)` if it is not among them.
    fn kept(&self, path: &str) -> Option<Option<R::Inode>> {
        let (folder, name) = path.rsplit_once('/').filter(|(_, name)| R::KEEP_FOLDERS && !name.is_empty())?;
        let mut folders = self.folders.borrow_mut();
        if !folders.known.contains_key(folder) {
            let path = if folder.is_empty() { "/" } else { folder };
            let entries = self.reader.borrow_mut().entries(path).ok();
            folders.keep(folder, entries.as_deref());
        }
        let entries = folders.known.get(folder)?.as_ref()?;
        Some(entries.get(name.as_bytes()).copied())
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
        if R::KEEP_FOLDERS {
            self.folders.borrow_mut().keep_new(path.trim_end_matches('/'), &entries);
        }
        Ok(entries.iter().map(|entry| DirEntry { name: lossy(&entry.name), kind: entry.kind }).collect())
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
