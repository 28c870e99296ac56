//! btrfs, by the crate `lambutter`.
//!
//! The crate ignores the tree log, which holds changes since the last commit; it is reported as not cleanly unmounted.

use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;

use goldfleet_disk::DiskReader;
use lambutter::{Btrfs as Reader, Error, Inode, Metadata, Path};

use super::source::Source;
use super::{DirEntry, FileKind, FileReader, FileSystem, FsError, FsInfo, FsKind, MAX_ENTRIES, Stat};
use crate::budget::Budget;
use crate::bytes::{le64, text, uuid};

/// Where the first superblock is.
const SUPERBLOCK: u64 = 64 << 10;

/// A subvolume of a btrfs file system.
pub struct Btrfs {
    fs: RefCell<Reader<Source>>,
    disk: Arc<dyn DiskReader>,
    info: FsInfo,
    budget: Arc<Budget>,
}

impl fmt::Debug for Btrfs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Btrfs").field("info", &self.info).finish_non_exhaustive()
    }
}

impl Btrfs {
    /// Opens the default subvolume of a volume's file system.
    ///
    /// # Errors
    /// [`FsError`] if it is damaged or uses unsupported features.
    pub fn open(disk: Arc<dyn DiskReader>, budget: Arc<Budget>) -> Result<Self, FsError> {
        let mut sb = vec![0; 4096];
        disk.read_at(SUPERBLOCK, &mut sb)?;
        // The size of this device, in the superblock's copy of its item.
        super::check_size(Some(le64(&sb, 0xd1)), disk.size())?;
        let info = FsInfo {
            kind: FsKind::Btrfs,
            uuid: uuid(&sb[32..48]),
            label: text(&sb[0x12b..0x22b]),
            dirty: (le64(&sb, 0x60) != 0).then(|| "its tree log holds changes that must be replayed".to_owned()),
        };
        let fs = Reader::open(Source(Arc::clone(&disk)), disk.size()).map_err(|e| error(&budget, e))?;
        Ok(Self { fs: RefCell::new(fs), disk, info, budget })
    }

    fn resolve(&self, path: &str) -> Result<(Inode, Metadata), FsError> {
        let mut fs = self.fs.borrow_mut();
        let inode = fs.resolve(Path::from(path)).map_err(|e| error(&self.budget, e))?;
        let metadata = fs.metadata(&inode).map_err(|e| error(&self.budget, e))?;
        Ok((inode, metadata))
    }
}

fn error(budget: &Budget, error: Error) -> FsError {
    if let Some(exceeded) = budget.exceeded() {
        return FsError::Exceeded(exceeded);
    }
    match error {
        Error::NotFound | Error::NotASubvolume => FsError::NotFound,
        Error::NotARegularFile => FsError::WrongKind("regular file"),
        Error::NotASymlink => FsError::WrongKind("symbolic link"),
        Error::UnsupportedFeature(_) | Error::UnsupportedProfile(_) | Error::UnsupportedChecksum(_) => {
            FsError::Unsupported(error.to_string())
        }
        other => FsError::Damaged(other.to_string()),
    }
}

/// The kinds of directory items, from the kernel's `include/uapi/linux/btrfs_tree.h`.
fn entry_kind(byte: u8) -> FileKind {
    match byte {
        1 => FileKind::File,
        2 => FileKind::Directory,
        7 => FileKind::Symlink,
        _ => FileKind::Other,
    }
}

fn kind(metadata: &Metadata) -> FileKind {
    match () {
        () if metadata.is_file() => FileKind::File,
        () if metadata.is_dir() => FileKind::Directory,
        () if metadata.is_symlink() => FileKind::Symlink,
        () => FileKind::Other,
    }
}

impl FileSystem for Btrfs {
    fn info(&self) -> &FsInfo {
        &self.info
    }

    fn list(&self, path: &str) -> Result<Vec<DirEntry>, FsError> {
        if !self.resolve(path)?.1.is_dir() {
            return Err(FsError::WrongKind("folder"));
        }
        let entries = self.fs.borrow_mut().read_dir(Path::from(path)).map_err(|e| error(&self.budget, e))?;
        if entries.len() > MAX_ENTRIES {
            return Err(FsError::Unsupported(format!("a folder with more than {MAX_ENTRIES} entries")));
        }
        let name = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
        Ok(entries.iter().map(|e| DirEntry { name: name(&e.name), kind: entry_kind(e.kind_byte) }).collect())
    }

    fn stat(&self, path: &str) -> Result<Stat, FsError> {
        let (_, metadata) = self.resolve(path)?;
        Ok(Stat { kind: kind(&metadata), size: metadata.size, mode: metadata.mode & 0o7777 })
    }

    fn link(&self, path: &str) -> Result<String, FsError> {
        let target = self.fs.borrow_mut().read_link(Path::from(path)).map_err(|e| error(&self.budget, e))?;
        Ok(String::from_utf8_lossy(&target).into_owned())
    }

    fn open(&self, path: &str) -> Result<Box<dyn FileReader + '_>, FsError> {
        let (inode, metadata) = self.resolve(path)?;
        if !metadata.is_file() {
            return Err(FsError::WrongKind("regular file"));
        }
        Ok(Box::new(Open { fs: self, inode, size: metadata.size }))
    }

    fn subvolume(&self, path: &str) -> Option<Result<Box<dyn FileSystem>, FsError>> {
        let source = Source(Arc::clone(&self.disk));
        let opened =
            Reader::open_subvol_path(source, self.disk.size(), Path::from(path)).map_err(|e| error(&self.budget, e));
        Some(opened.map(|fs| {
            let (disk, budget) = (Arc::clone(&self.disk), Arc::clone(&self.budget));
            Box::new(Self { fs: RefCell::new(fs), disk, info: self.info.clone(), budget }) as Box<dyn FileSystem>
        }))
    }
}

struct Open<'a> {
    fs: &'a Btrfs,
    inode: Inode,
    size: u64,
}

impl FileReader for Open<'_> {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> Result<usize, FsError> {
        self.fs.budget.check()?;
        if offset >= self.size || buffer.is_empty() {
            return Ok(0);
        }
        self.fs.fs.borrow_mut().read_file_at(&self.inode, offset, buffer).map_err(|e| error(&self.fs.budget, e))
    }
}
