//! btrfs, by the crate `lambutter`.
//!
//! The crate ignores the tree log, which holds changes since the last commit; it is reported as not cleanly unmounted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use goldfleet_disk::{DiskError, DiskReader};
use lambutter::{BlockRead, Btrfs as Reader, Inode, Path};

use super::inodes::{Entry, InodeReader, Inodes, explain};
use super::{DirEntry, FileKind, FileReader, FileSystem, FsError, FsInfo, FsKind, Stat};
use crate::budget::Budget;
use crate::bytes::{le64, uuid};
use crate::text::until_zero;

/// Where the first superblock is.
const SUPERBLOCK: u64 = 64 << 10;

/// The part of an inspection's memory that the nodes of one listing may take. The crate collects all entries of a
/// folder, however many there are, and an entry takes at most twice the memory that it takes in its node. With the
/// default limit, a folder may have 250,000 names of 30 bytes.
const LISTING_PART: u64 = 3;
/// The largest node, in bytes.
const MAX_NODE: u64 = 64 << 10;

/// A subvolume of a btrfs file system.
#[derive(Debug)]
pub struct Btrfs {
    files: Inodes<Tree>,
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
        Self::with(info, disk, budget, Reader::open)
    }

    fn with(
        info: FsInfo,
        disk: Arc<dyn DiskReader>,
        budget: Arc<Budget>,
        open: impl FnOnce(Nodes, u64) -> lambutter::Result<Reader<Nodes>>,
    ) -> Result<Self, FsError> {
        let left = Arc::new(AtomicU64::new(u64::MAX));
        let opened = open(Nodes { disk: Arc::clone(&disk), left: Arc::clone(&left) }, disk.size());
        let reader = opened.map_err(|error| explain::<Tree>(&budget, Error::Crate(error)))?;
        let tree = Tree { reader, left, max_listing: budget.limits().memory / LISTING_PART };
        Ok(Self { files: Inodes::new(tree, info, Arc::clone(&budget)), disk, budget })
    }
}

/// The disk as the crate reads it. Reads fail when `left` bytes were read.
#[derive(Debug)]
struct Nodes {
    disk: Arc<dyn DiskReader>,
    left: Arc<AtomicU64>,
}

impl BlockRead for Nodes {
    type Error = DiskError;

    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> Result<(), DiskError> {
        let (left, length) = (self.left.load(Ordering::Relaxed), buffer.len() as u64);
        if left < length {
            return Err(DiskError::Limit("a folder is too large".into()));
        }
        self.left.store(left - length, Ordering::Relaxed);
        self.disk.read_at(offset, buffer)
    }
}

/// The crate's reader, and the bytes that it may read.
struct Tree {
    reader: Reader<Nodes>,
    left: Arc<AtomicU64>,
    /// The most bytes of nodes that are read to list one folder.
    max_listing: u64,
}

/// Why a call of the crate failed.
enum Error {
    Crate(lambutter::Error),
    FolderTooLarge,
}

impl From<lambutter::Error> for Error {
    fn from(error: lambutter::Error) -> Self {
        Self::Crate(error)
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

impl InodeReader for Tree {
    type Inode = Inode;
    type Error = Error;

    /// The crate reads a node of each level, and computes its checksum, for each name of a path.
    const KEEP_FOLDERS: bool = true;

    fn find(&mut self, path: &str) -> Result<Inode, Error> {
        Ok(self.reader.resolve(Path::from(path))?)
    }

    fn stat(&mut self, inode: &Inode) -> Result<Stat, Error> {
        let metadata = self.reader.metadata(inode)?;
        let kind = match () {
            () if metadata.is_file() => FileKind::File,
            () if metadata.is_dir() => FileKind::Directory,
            () if metadata.is_symlink() => FileKind::Symlink,
            () => FileKind::Other,
        };
        Ok(Stat { kind, size: metadata.size, mode: metadata.mode & 0o7777 })
    }

    fn entries(&mut self, path: &str) -> Result<Vec<Entry<Inode>>, Error> {
        self.left.store(self.max_listing, Ordering::Relaxed);
        let listed = self.reader.read_dir(Path::from(path));
        let left = self.left.swap(u64::MAX, Ordering::Relaxed);
        let too_large = |error| if left < MAX_NODE { Error::FolderTooLarge } else { Error::Crate(error) };
        let entry = |entry: lambutter::DirEntry| Entry {
            name: entry.name,
            kind: entry_kind(entry.kind_byte),
            inode: Some(entry.inode),
        };
        Ok(listed.map_err(too_large)?.into_iter().map(entry).collect())
    }

    fn target(&mut self, path: &str) -> Result<Vec<u8>, Error> {
        Ok(self.reader.read_link(Path::from(path))?)
    }

    fn read_at(&mut self, inode: &Inode, offset: u64, buffer: &mut [u8]) -> Result<usize, Error> {
        Ok(self.reader.read_file_at(inode, offset, buffer)?)
    }

    fn error(error: Error) -> FsError {
        use lambutter::Error as E;
        match error {
            Error::FolderTooLarge => FsError::Unsupported("a folder that is too large to be listed".into()),
            Error::Crate(E::NotFound | E::NotASubvolume) => FsError::NotFound,
            Error::Crate(E::NotARegularFile) => FsError::WrongKind("regular file"),
            Error::Crate(E::NotASymlink) => FsError::WrongKind("symbolic link"),
            Error::Crate(error @ (E::UnsupportedFeature(_) | E::UnsupportedProfile(_) | E::UnsupportedChecksum(_))) => {
                FsError::Unsupported(error.to_string())
            }
            Error::Crate(other) => FsError::Damaged(other.to_string()),
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
        let open = |nodes, size| Reader::open_subvol_path(nodes, size, Path::from(path));
        let subvolume = Self::with(self.info().clone(), disk, budget, open);
        Some(subvolume.map(|fs| Box::new(fs) as Box<dyn FileSystem>))
    }
}
