//! btrfs, by the crate `lambutter`.
//!
//! The crate ignores the tree log, which holds changes since the last commit; it is reported as not cleanly unmounted.

use std::sync::Arc;

use goldfleet_disk::DiskReader;
use lambutter::{Btrfs as Reader, Error, Inode, Path};

use super::inodes::{InodeReader, Inodes, explain};
use super::source::Source;
use super::{DirEntry, FileKind, FileReader, FileSystem, FsError, FsInfo, FsKind, Stat};
use crate::budget::Budget;
use crate::bytes::{le64, uuid};
use crate::text::until_zero;

/// Where the first superblock is.
const SUPERBLOCK: u64 = 64 << 10;

/// A subvolume of a btrfs file system.
#[derive(Debug)]
pub struct Btrfs {
    files: Inodes<Reader<Source>>,
    disk: Arc<dyn DiskReader>,
    budget: Arc<Budget>,
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
            label: until_zero(&sb[0x12b..0x22b]),
            dirty: (le64(&sb, 0x60) != 0).then(|| "its tree log holds changes that must be replayed".to_owned()),
        };
        let opened = Reader::open(Source(Arc::clone(&disk)), disk.size());
        Self::new(opened, info, disk, budget)
    }

    fn new(
        opened: lambutter::Result<Reader<Source>>,
        info: FsInfo,
        disk: Arc<dyn DiskReader>,
        budget: Arc<Budget>,
    ) -> Result<Self, FsError> {
        let reader = opened.map_err(|e| explain::<Reader<Source>>(&budget, e))?;
        Ok(Self { files: Inodes::new(reader, info, Arc::clone(&budget)), disk, budget })
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

impl InodeReader for Reader<Source> {
    type Inode = Inode;
    type Error = Error;

    fn find(&mut self, path: &str) -> Result<(Inode, Stat), Error> {
        let inode = self.resolve(Path::from(path))?;
        let metadata = self.metadata(&inode)?;
        let kind = match () {
            () if metadata.is_file() => FileKind::File,
            () if metadata.is_dir() => FileKind::Directory,
            () if metadata.is_symlink() => FileKind::Symlink,
            () => FileKind::Other,
        };
        Ok((inode, Stat { kind, size: metadata.size, mode: metadata.mode & 0o7777 }))
    }

    fn entries(&mut self, path: &str) -> Result<Vec<(Vec<u8>, FileKind)>, Error> {
        let entries = self.read_dir(Path::from(path))?;
        Ok(entries.into_iter().map(|entry| (entry.name, entry_kind(entry.kind_byte))).collect())
    }

    fn target(&mut self, path: &str) -> Result<Vec<u8>, Error> {
        self.read_link(Path::from(path))
    }

    fn read_at(&mut self, inode: &Inode, offset: u64, buffer: &mut [u8]) -> Result<usize, Error> {
        self.read_file_at(inode, offset, buffer)
    }

    fn error(error: Error) -> FsError {
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
}

impl FileSystem for Btrfs {
    fn info(&self) -> &FsInfo {
        &self.files.info
    }

    fn list(&self, path: &str) -> Result<Vec<DirEntry>, FsError> {
        self.files.list(path)
    }

    fn stat(&self, path: &str) -> Result<Stat, FsError> {
        self.files.stat(path)
    }

    fn link(&self, path: &str) -> Result<String, FsError> {
        self.files.link(path)
    }

    fn open(&self, path: &str) -> Result<Box<dyn FileReader + '_>, FsError> {
        self.files.open(path)
    }

    fn subvolume(&self, path: &str) -> Option<Result<Box<dyn FileSystem>, FsError>> {
        let (disk, budget) = (Arc::clone(&self.disk), Arc::clone(&self.budget));
        let opened = Reader::open_subvol_path(Source(Arc::clone(&disk)), disk.size(), Path::from(path));
        let subvolume = Self::new(opened, self.info().clone(), disk, budget);
        Some(subvolume.map(|fs| Box::new(fs) as Box<dyn FileSystem>))
    }
}
