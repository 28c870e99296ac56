//! ext2, ext3 and ext4, by the crate `ext4-view`.
//!
//! The crate verifies checksums and replays the journal in memory. It allocates by what the superblock states, so that
//! the superblock's sizes are compared with the volume's first. The layout is that of the kernel's `fs/ext4/ext4.h`.

use std::fmt;
use std::sync::Arc;

use ext4_view::{Ext4, Ext4Error, FileType};
use goldfleet_disk::DiskReader;

use super::source::Source;
use super::{DirEntry, FileKind, FileReader, FileSystem, FsError, FsInfo, FsKind, MAX_ENTRIES, Stat};
use crate::budget::Budget;
use crate::bytes::{le16, le32};

/// The most block groups: a file system of 128 TiB with blocks of 4 KiB.
const MAX_GROUPS: u64 = 1 << 20;
/// The longest target of a symbolic link in bytes: `PATH_MAX` of the kernel.
const MAX_TARGET: u64 = 4096;
/// The most blocks that are skipped one by one to reach an offset in a file.
const MAX_SKIP: u64 = 1 << 32;

/// An ext2, ext3 or ext4 file system.
pub struct Ext {
    fs: Ext4,
    info: FsInfo,
    budget: Arc<Budget>,
}

impl fmt::Debug for Ext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ext").field("info", &self.info).finish_non_exhaustive()
    }
}

impl Ext {
    /// Opens the file system of a volume.
    ///
    /// # Errors
    /// [`FsError`] if it is damaged or uses unsupported features.
    pub fn open(disk: Arc<dyn DiskReader>, budget: Arc<Budget>) -> Result<Self, FsError> {
        let mut superblock = vec![0; 1024];
        disk.read_at(1024, &mut superblock)?;
        check_sizes(&superblock, disk.size())?;
        let dirty = dirty(&superblock);
        let fs = Ext4::load(Box::new(Source(disk))).map_err(|e| error(&budget, e))?;
        let info = FsInfo {
            kind: FsKind::Ext,
            uuid: crate::bytes::uuid(fs.uuid().as_bytes()),
            label: crate::text::until_zero(fs.label().as_bytes()),
            dirty,
        };
        Ok(Self { fs, info, budget })
    }

    fn fail(&self, error: Ext4Error) -> FsError {
        self::error(&self.budget, error)
    }

    /// Refuses a symbolic link. The crate would follow it, and allocate as much memory as a damaged inode states as the
    /// length of the target.
    fn refuse_link(&self, path: &str, expected: &'static str) -> Result<(), FsError> {
        match self.stat(path)?.kind {
            FileKind::Symlink => Err(FsError::WrongKind(expected)),
            _ => Ok(()),
        }
    }
}

/// The superblock must describe a file system that fits in the volume, and groups that can be counted.
fn check_sizes(superblock: &[u8], volume: u64) -> Result<(), FsError> {
    let damaged = |what: String| Err(FsError::Damaged(what));
    let shift = le32(superblock, 24);
    if shift > 6 {
        return damaged(format!("the superblock states blocks of 2^{} bytes", u64::from(shift) + 10));
    }
    // The kernel ignores the upper half without the feature 64bit. The crate does not, and allocates by it.
    let blocks = u64::from(le32(superblock, 0x150)) << 32 | u64::from(le32(superblock, 4));
    let block = 1024u64 << shift;
    super::check_size(blocks.checked_mul(block), volume)?;
    let per_group = u64::from(le32(superblock, 32));
    if per_group == 0 || blocks.div_ceil(per_group) > MAX_GROUPS {
        return damaged(format!("the superblock states groups of {per_group} blocks"));
    }
    Ok(())
}

fn dirty(superblock: &[u8]) -> Option<String> {
    const INCOMPAT_RECOVER: u32 = 0x4;
    const STATE_CLEAN: u16 = 1;
    const STATE_ERRORS: u16 = 2;
    let state = le16(superblock, 58);
    if state & STATE_ERRORS != 0 {
        Some("the kernel recorded errors in it".into())
    } else if le32(superblock, 96) & INCOMPAT_RECOVER != 0 {
        Some("its journal holds changes that must be replayed".into())
    } else if state & STATE_CLEAN == 0 {
        Some("it was not cleanly unmounted".into())
    } else {
        None
    }
}

fn error(budget: &Budget, error: Ext4Error) -> FsError {
    if let Some(stop) = budget.stopped() {
        return FsError::Stopped(stop);
    }
    match error {
        Ext4Error::NotFound => FsError::NotFound,
        Ext4Error::NotADirectory => FsError::WrongKind("folder"),
        Ext4Error::NotASymlink => FsError::WrongKind("symbolic link"),
        Ext4Error::IsADirectory | Ext4Error::IsASpecialFile => FsError::WrongKind("regular file"),
        Ext4Error::Encrypted | Ext4Error::Incompatible(_) => FsError::Unsupported(error.to_string()),
        other => FsError::Damaged(other.to_string()),
    }
}

fn kind(kind: FileType) -> FileKind {
    match kind {
        FileType::Regular => FileKind::File,
        FileType::Directory => FileKind::Directory,
        FileType::Symlink => FileKind::Symlink,
        _ => FileKind::Other,
    }
}

impl FileSystem for Ext {
    fn info(&self) -> &FsInfo {
        &self.info
    }

    fn list(&self, path: &str) -> Result<Vec<DirEntry>, FsError> {
        self.refuse_link(path, "folder")?;
        let mut out = Vec::new();
        for entry in self.fs.read_dir(path).map_err(|e| self.fail(e))? {
            self.budget.check()?;
            let entry = entry.map_err(|e| self.fail(e))?;
            let name = String::from_utf8_lossy(entry.file_name().as_ref()).into_owned();
            if name != "." && name != ".." {
                out.push(DirEntry { name, kind: entry.file_type().map_or(FileKind::Other, kind) });
            }
            if out.len() > MAX_ENTRIES {
                return Err(FsError::Unsupported(format!("a folder with more than {MAX_ENTRIES} entries")));
            }
        }
        Ok(out)
    }

    fn stat(&self, path: &str) -> Result<Stat, FsError> {
        let metadata = self.fs.symlink_metadata(path).map_err(|e| self.fail(e))?;
        let mode = u32::from(metadata.mode() & 0o7777);
        Ok(Stat { kind: kind(metadata.file_type()), size: metadata.len(), mode })
    }

    fn link(&self, path: &str) -> Result<String, FsError> {
        let Stat { kind, size, .. } = self.stat(path)?;
        if kind == FileKind::Symlink && size > MAX_TARGET {
            return Err(FsError::Damaged(format!("a symbolic link states a target of {size} bytes")));
        }
        let target = self.fs.read_link(path).map_err(|e| self.fail(e))?;
        Ok(String::from_utf8_lossy(target.as_ref()).into_owned())
    }

    fn open(&self, path: &str) -> Result<Box<dyn FileReader + '_>, FsError> {
        self.refuse_link(path, "regular file")?;
        let file = self.fs.open(path).map_err(|e| self.fail(e))?;
        Ok(Box::new(Open { file, budget: &self.budget }))
    }
}

struct Open<'a> {
    file: ext4_view::File,
    budget: &'a Budget,
}

impl FileReader for Open<'_> {
    fn size(&self) -> u64 {
        self.file.metadata().len()
    }

    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> Result<usize, FsError> {
        if offset >= self.size() {
            return Ok(0);
        }
        if offset != self.file.position() {
            if offset > MAX_SKIP {
                return Err(FsError::Unsupported(format!("reading at offset {offset}")));
            }
            self.file.seek_to(offset).map_err(|e| error(self.budget, e))?;
        }
        let mut done = 0;
        while done < buffer.len() {
            self.budget.check().map_err(FsError::Stopped)?;
            match self.file.read_bytes(&mut buffer[done..]).map_err(|e| error(self.budget, e))? {
                0 => break,
                count => done += count,
            }
        }
        Ok(done)
    }
}
