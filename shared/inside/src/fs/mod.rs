//! File systems, read through one trait.
//!
//! Paths are absolute, use `/`, and have no `.`, `..` or links in the folders above the last name:
//! [`crate::root::Root`] resolves links inside the image before it calls a file system.

pub mod btrfs;
pub mod ext;
pub mod fat;
mod inodes;
pub mod ntfs;
pub mod part;
mod source;
#[cfg(test)]
pub mod tree;
pub mod xfs;

use std::fmt;

use goldfleet_disk::DiskError;

use crate::budget::{Budget, Stop};

/// The most entries of one folder that a file system lists.
pub const MAX_ENTRIES: usize = 200_000;

/// Which file system a volume holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FsKind {
    /// ext2, ext3 or ext4.
    Ext,
    /// XFS.
    Xfs,
    /// btrfs.
    Btrfs,
    /// FAT12, FAT16 or FAT32.
    Fat,
    /// NTFS.
    Ntfs,
}

impl fmt::Display for FsKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ext => "ext4",
            Self::Xfs => "XFS",
            Self::Btrfs => "btrfs",
            Self::Fat => "FAT",
            Self::Ntfs => "NTFS",
        })
    }
}

/// What the superblock of a file system states.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FsInfo {
    /// Which file system it is.
    pub kind: FsKind,
    /// The identifier as `blkid` prints it: a UUID in lower case, `ABCD-1234` for FAT, 16 upper-case digits for NTFS.
    pub uuid: String,
    /// The label. Empty if there is none.
    pub label: String,
    /// Why the file system was not cleanly unmounted, if it was not.
    pub dirty: Option<String>,
}

/// What kind of object a path names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A folder.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A device, socket or pipe.
    Other,
}

/// The properties of a file, folder or link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// What it is.
    pub kind: FileKind,
    /// Length in bytes, as stated by the file system: not to be trusted for an allocation.
    pub size: u64,
    /// Unix permission bits. 0 where the file system has none.
    pub mode: u32,
}

/// A name in a folder. `.` and `..` are never listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirEntry {
    /// The name. A name that is not UTF-8 is converted lossily and cannot be opened.
    pub name: String,
    /// What it is.
    pub kind: FileKind,
}

/// Why a file system or a file in it cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum FsError {
    /// There is no such path.
    #[error("not found")]
    NotFound,
    /// The path is not what the call needs, such as a list of a regular file.
    #[error("it is not a {0}")]
    WrongKind(&'static str),
    /// The structures contradict each other or the specification.
    #[error("damaged: {0}")]
    Damaged(String),
    /// It is larger than the volume that holds it, so that a kernel refuses to mount it.
    #[error("it has {needed} bytes, but its volume has only {available} bytes")]
    CutOff {
        /// Bytes that the superblock states.
        needed: u64,
        /// Bytes of the volume.
        available: u64,
    },
    /// Valid, but it uses a feature that is not supported.
    #[error("not supported: {0}")]
    Unsupported(String),
    /// The file is longer than the caller's limit.
    #[error("it is longer than {0} bytes")]
    TooLong(u64),
    /// The inspection was stopped.
    #[error("{0}")]
    Stopped(#[from] Stop),
    /// The disk image cannot be read.
    #[error("{0}")]
    Disk(#[from] DiskError),
}

/// An open file.
pub trait FileReader {
    /// Length in bytes, as stated by the file system: not to be trusted for an allocation.
    fn size(&self) -> u64;

    /// Reads from `offset` into `buffer`. Returns how many bytes were read; 0 only at or after the end of the file, or
    /// for an empty buffer.
    ///
    /// # Errors
    /// [`FsError`] if the data cannot be read.
    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> Result<usize, FsError>;
}

/// A file system, opened read-only. Used from one thread.
pub trait FileSystem {
    /// What the superblock states.
    fn info(&self) -> &FsInfo;

    /// The entries of a folder, at most [`MAX_ENTRIES`].
    ///
    /// # Errors
    /// [`FsError::NotFound`], [`FsError::WrongKind`], or that the folder cannot be read.
    fn list(&self, path: &str) -> Result<Vec<DirEntry>, FsError>;

    /// The properties of what a path names. A link is not followed.
    ///
    /// # Errors
    /// [`FsError::NotFound`], or that the folders on the way cannot be read.
    fn stat(&self, path: &str) -> Result<Stat, FsError>;

    /// The target of a symbolic link, as it is stored.
    ///
    /// # Errors
    /// [`FsError::NotFound`], [`FsError::WrongKind`], or that the link cannot be read.
    fn link(&self, path: &str) -> Result<String, FsError>;

    /// Opens a regular file.
    ///
    /// # Errors
    /// [`FsError::NotFound`], [`FsError::WrongKind`], or that the file's metadata cannot be read.
    fn open(&self, path: &str) -> Result<Box<dyn FileReader + '_>, FsError>;

    /// The subvolume at a path from the top level, as `subvol=` mounts it. `None` if the file system has no subvolumes.
    fn subvolume(&self, _path: &str) -> Option<Result<Box<dyn FileSystem>, FsError>> {
        None
    }
}

/// Compares the size that a superblock states with the volume's.
fn check_size(needed: Option<u64>, available: u64) -> Result<(), FsError> {
    match needed {
        Some(needed) if needed <= available => Ok(()),
        needed => Err(FsError::CutOff { needed: needed.unwrap_or(u64::MAX), available }),
    }
}

/// Reads a whole file of at most `limit` bytes. The buffer grows as data arrives, never to a size that only the image
/// states.
///
/// # Errors
/// [`FsError::TooLong`] if the file is longer than `limit`, and the file's own errors.
pub fn read(file: &mut dyn FileReader, limit: u64, budget: &Budget) -> Result<Vec<u8>, FsError> {
    if file.size() > limit {
        return Err(FsError::TooLong(limit));
    }
    let mut bytes = Vec::new();
    let mut part = vec![0; 256 << 10];
    loop {
        budget.check()?;
        let count = file.read_at(bytes.len() as u64, &mut part)?;
        if count == 0 {
            return Ok(bytes);
        }
        if bytes.len() as u64 + count as u64 > limit {
            return Err(FsError::TooLong(limit));
        }
        bytes.extend_from_slice(&part[..count]);
    }
}
