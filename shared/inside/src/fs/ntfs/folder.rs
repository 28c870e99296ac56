//! Folders: B-trees of names.

use std::collections::HashSet;

use super::record::{NUMBER, Record, fix_up, kind};
use super::reparse::{self, Tag};
use super::{Ntfs, damaged};
use crate::bytes::{le16, le32, le64, try_le32, try_le64, try_len16, try_len32};
use crate::fs::{FileKind, FsError, MAX_ENTRIES};
use crate::text::{fold, utf16};

/// The index of a folder's names.
const INDEX: &str = "$I30";
/// Records below this one are the file system's own.
const FIRST_USER_RECORD: u64 = 24;
/// The namespace of the short second name of a file.
const DOS: u8 = 2;
/// The most bytes of an index root: it is in a file record.
const MAX_ROOT: u64 = 64 << 10;

/// The most bytes of memory that the names of one folder may need. The largest folder of Windows, WinSxS, needs 5 MB.
pub(super) const MAX_NAMES: usize = 32 << 20;
/// Bytes of memory for one entry besides its name.
const ENTRY: usize = 64;

/// Flags of an index entry.
const HAS_CHILD: u16 = 1;
const LAST: u16 = 2;
/// Flags in the file name attribute.
const IS_FOLDER: u32 = 0x1000_0000;
const IS_REPARSE_POINT: u32 = 0x400;

/// A name in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) reference: u64,
    pub(super) kind: FileKind,
}

/// The entries of a folder.
#[derive(Debug)]
pub(super) struct Folder {
    pub(super) entries: Vec<Entry>,
    /// Indexes of the entries, in the order of their folded names.
    order: Vec<usize>,
    /// Bytes of memory that the entries need.
    pub(super) size: usize,
}

impl Folder {
    fn new(entries: Vec<Entry>, size: usize) -> Self {
        let mut order: Vec<usize> = (0..entries.len()).collect();
        order.sort_by_cached_key(|index| fold(&entries[*index].name));
        Self { entries, order, size }
    }

    /// The entry with a name: with exactly this one if there is one, otherwise the first that differs only in case.
    pub(super) fn find(&self, name: &str) -> Option<&Entry> {
        let folded = fold(name);
        let start = self.order.partition_point(|index| fold(&self.entries[*index].name) < folded);
        let mut same =
            self.order[start..].iter().map(|index| &self.entries[*index]).take_while(|e| fold(&e.name) == folded);
        let first = same.next()?;
        if first.name == name { Some(first) } else { same.find(|entry| entry.name == name).or(Some(first)) }
    }
}

/// Entries and child blocks of one node of the tree.
#[derive(Default)]
struct Nodes {
    entries: Vec<Entry>,
    /// Bytes of memory that the entries need.
    size: usize,
    children: Vec<u64>,
}

impl Ntfs {
    /// Reads all names of a folder.
    pub(super) fn read_folder(&self, record: &Record) -> Result<Folder, FsError> {
        let root = self.stream(record, kind::INDEX_ROOT, INDEX)?.ok_or_else(|| damaged("a folder has no index"))?;
        let root = self.read_all(&root, MAX_ROOT)?;
        let block = try_len32(&root, 8).filter(|size| size.is_power_of_two() && (512..=65_536).contains(size));
        let block = block.ok_or_else(|| damaged("the size of index blocks is invalid"))?;
        let mut nodes = Nodes::default();
        nodes.add(root.get(0x10..).unwrap_or_default())?;
        if !nodes.children.is_empty() {
            self.read_blocks(record, block, &mut nodes)?;
        }
        Ok(Folder::new(nodes.entries, nodes.size))
    }

    /// Reads the blocks below the root, each once.
    fn read_blocks(&self, record: &Record, block: usize, nodes: &mut Nodes) -> Result<(), FsError> {
        let allocation = self.stream(record, kind::INDEX_ALLOCATION, INDEX)?;
        let allocation = allocation.ok_or_else(|| damaged("a folder has no index blocks"))?;
        // Blocks are counted in clusters, or in 512 bytes if a cluster is larger than a block.
        let unit = if self.geometry.cluster <= block as u64 { self.geometry.cluster } else { 512 };
        let mut seen = HashSet::new();
        let mut bytes = vec![0; block];
        while let Some(number) = nodes.children.pop() {
            self.budget.check()?;
            if !seen.insert(number) {
                return Err(damaged("an index block is reached twice"));
            }
            let offset = number.checked_mul(unit).ok_or_else(|| damaged("an index block does not exist"))?;
            self.read_exact(&allocation, offset, &mut bytes)?;
            fix_up(&mut bytes, b"INDX")?;
            if try_le64(&bytes, 0x10) != Some(number) {
                return Err(damaged("an index block is in a wrong place"));
            }
            nodes.add(&bytes[0x18..])?;
        }
        Ok(())
    }
}

impl Nodes {
    /// Adds the entries of a node. `bytes` begins with the node's header.
    fn add(&mut self, bytes: &[u8]) -> Result<(), FsError> {
        let invalid = || damaged("an entry of an index is invalid");
        let end = try_len32(bytes, 4).unwrap_or(0);
        let start = try_len32(bytes, 0).unwrap_or(0);
        let mut rest = bytes.get(start..end).ok_or_else(invalid)?;
        loop {
            let length = try_len16(rest, 8).filter(|length| *length >= 16).ok_or_else(invalid)?;
            let entry = rest.get(..length).ok_or_else(invalid)?;
            let flags = le16(entry, 12);
            if flags & HAS_CHILD != 0 {
                self.children.push(try_le64(entry, length - 8).ok_or_else(invalid)?);
            }
            if flags & LAST != 0 {
                return Ok(());
            }
            let name = try_len16(entry, 10).and_then(|n| entry.get(16..16 + n)).ok_or_else(invalid)?;
            if let Some(named) = file_name(le64(entry, 0), name).ok_or_else(invalid)? {
                self.size += ENTRY + named.name.len();
                self.entries.push(named);
            }
            if self.entries.len() > MAX_ENTRIES || self.size > MAX_NAMES {
                return Err(FsError::Unsupported("a folder of more than 200,000 names or 32 MiB".into()));
            }
            rest = &rest[length..];
        }
    }
}

/// Reads a file name attribute. The inner `None`: it is a second, short name, or one of the file system's own files.
fn file_name(reference: u64, bytes: &[u8]) -> Option<Option<Entry>> {
    let flags = try_le32(bytes, 0x38)?;
    let name = bytes.get(0x42..0x42 + 2 * usize::from(*bytes.get(0x40)?))?;
    if bytes[0x41] == DOS || reference & NUMBER < FIRST_USER_RECORD {
        return Some(None);
    }
    let tag = (flags & IS_REPARSE_POINT != 0).then(|| reparse::tag(le32(bytes, 0x3c)));
    let kind = match tag {
        Some(Tag::Link) => FileKind::Symlink,
        Some(Tag::Special) => FileKind::Other,
        _ if flags & IS_FOLDER != 0 => FileKind::Directory,
        _ => FileKind::File,
    };
    Some(Some(Entry { name: utf16(name), reference, kind }))
}
