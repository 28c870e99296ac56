//! XFS, by the crate `lamxfs`, which replays the log in memory.
//!
//! The crate does not report whether it replayed the log; `is_dirty` looks at the end of the log itself. The layout is
//! that of the kernel's `fs/xfs/libxfs/xfs_log_format.h`.

use std::sync::Arc;

use goldfleet_disk::{DiskError, DiskReader};
use lamxfs::{EntryKind, Error, Inode, Path, SuperblockReason, Xfs as Reader};

use super::inodes::{Entry, InodeReader, Inodes, explain};
use super::source::Source;
use super::{DirEntry, FileKind, FileReader, FileSystem, FsError, FsInfo, FsKind, Stat};
use crate::budget::Budget;
use crate::bytes::{be32, be64};

/// An XFS file system.
#[derive(Debug)]
pub struct Xfs {
    files: Inodes<Reader<Source>>,
}

impl Xfs {
    /// Opens the file system of a volume.
    ///
    /// # Errors
    /// [`FsError`] if it is damaged or uses unsupported features.
    pub fn open(disk: Arc<dyn DiskReader>, budget: Arc<Budget>) -> Result<Self, FsError> {
        let size = disk.size();
        let mut sb = [0; 512];
        disk.read_at(0, &mut sb)?;
        super::check_size(be64(&sb, 8).checked_mul(u64::from(be32(&sb, 4))), size)?;
        let dirty = is_dirty(&*disk)?;
        let reader = Reader::open(Source(disk), size).map_err(|e| explain::<Reader<Source>>(&budget, e))?;
        let info = FsInfo {
            kind: FsKind::Xfs,
            uuid: crate::bytes::uuid(&reader.uuid()),
            label: reader.label().unwrap_or("").to_owned(),
            dirty: dirty.then(|| "its log holds changes that must be replayed".to_owned()),
        };
        Ok(Self { files: Inodes::new(reader, info, budget) })
    }
}

/// Whether the last record of the log is anything but the one that an unmount writes.
fn is_dirty(disk: &dyn DiskReader) -> Result<bool, DiskError> {
    const RECORD: u32 = 0xfeed_babe;
    const UNMOUNT: u8 = 0x20;
    /// A record has at most 256 KiB of data and 8 header blocks.
    const LONGEST: u64 = 520;
    let mut sb = [0; 512];
    disk.read_at(0, &mut sb)?;
    let (block, per_group, log_blocks) = (be32(&sb, 4), be32(&sb, 84), be32(&sb, 96));
    let (start, group_bits) = (be64(&sb, 48), u32::from(sb[124]));
    if start == 0 || group_bits >= 32 {
        return Ok(false); // an external log, which the crate refuses, or damage, which it finds
    }
    let group = (start >> group_bits).saturating_mul(u64::from(per_group));
    let first = group.saturating_add(start & ((1 << group_bits) - 1));
    let offset = first.saturating_mul(u64::from(block));
    let count = u64::from(log_blocks) * u64::from(block) / 512;
    if count < 4 || offset.saturating_add(count * 512) > disk.size() {
        return Ok(false);
    }
    let sector = |index: u64| {
        let mut bytes = [0; 512];
        disk.read_at(offset + index * 512, &mut bytes).map(|()| bytes)
    };
    // A record's first block has the cycle in its second word, all others in the first.
    let cycle = |index| sector(index).map(|s| if be32(&s, 0) == RECORD { be32(&s, 4) } else { be32(&s, 0) });
    let newest = cycle(0)?;
    if newest == 0 {
        return Ok(false); // nothing was ever logged
    }
    let (mut low, mut high) = (0, count);
    while high - low > 1 {
        let middle = low.midpoint(high);
        if cycle(middle)? == newest { low = middle } else { high = middle }
    }
    for back in 1..=LONGEST.min(count) {
        let index = (high + count - back) % count;
        let header = sector(index)?;
        if be32(&header, 0) == RECORD {
            let operations = be32(&header, 40);
            let flags = sector((index + 1) % count)?[9];
            return Ok(operations != 1 || flags & UNMOUNT == 0);
        }
    }
    Ok(true)
}

fn entry_kind(kind: EntryKind) -> FileKind {
    match kind {
        EntryKind::Regular => FileKind::File,
        EntryKind::Directory => FileKind::Directory,
        EntryKind::Symlink => FileKind::Symlink,
        EntryKind::Other => FileKind::Other,
    }
}

impl InodeReader for Reader<Source> {
    type Inode = Inode;
    type Error = Error;

    /// A lookup of a name reads few blocks, and the crate lists no inodes.
    const KEEP_FOLDERS: bool = false;

    fn find(&mut self, path: &str) -> Result<Inode, Error> {
        self.resolve(Path::new(path.as_bytes()))
    }

    fn stat(&mut self, inode: &Inode) -> Result<Stat, Error> {
        let metadata = self.metadata(inode)?;
        let kind = match () {
            () if metadata.is_file() => FileKind::File,
            () if metadata.is_dir() => FileKind::Directory,
            () if metadata.is_symlink() => FileKind::Symlink,
            () => FileKind::Other,
        };
        Ok(Stat { kind, size: metadata.size(), mode: metadata.mode() & 0o7777 })
    }

    fn entries(&mut self, path: &str) -> Result<Vec<Entry<Inode>>, Error> {
        let entries = self.read_dir(Path::new(path.as_bytes()))?;
        let entry = |entry: lamxfs::DirEntry| Entry { name: entry.name, kind: entry_kind(entry.kind), inode: None };
        Ok(entries.into_iter().map(entry).collect())
    }

    fn target(&mut self, path: &str) -> Result<Vec<u8>, Error> {
        self.read_link(Path::new(path.as_bytes()))
    }

    fn read_at(&mut self, inode: &Inode, offset: u64, buffer: &mut [u8]) -> Result<usize, Error> {
        self.read_file_at(inode, offset, buffer)
    }

    fn error(error: Error) -> FsError {
        match error {
            Error::NotFound { .. } => FsError::NotFound,
            Error::NotARegularFile => FsError::WrongKind("regular file"),
            Error::NotASymlink => FsError::WrongKind("symbolic link"),
            Error::BadSuperblock(SuperblockReason::DirtyLog) => {
                FsError::Unsupported("an XFS log that cannot be replayed".into())
            }
            Error::BadSuperblock(SuperblockReason::ExternalLog) => {
                FsError::Unsupported("an XFS log on another device".into())
            }
            Error::BadSuperblock(SuperblockReason::RealtimeDevice) => {
                FsError::Unsupported("an XFS realtime device".into())
            }
            Error::UnsupportedFeature(name) => FsError::Unsupported(format!("the XFS feature {name}")),
            other => FsError::Damaged(other.to_string()),
        }
    }
}

impl FileSystem for Xfs {
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
}
