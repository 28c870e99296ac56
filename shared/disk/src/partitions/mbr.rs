//! Master boot records, with the logical partitions in extended ones.

use super::{Partition, PartitionType, SECTOR};
use crate::bytes::le32;
use crate::{DiskError, DiskReader};

/// The type of the entry that protects a GPT from programs that know only MBRs.
pub(super) const PROTECTIVE: u8 = 0xee;

/// Extended partitions: with CHS addresses, with LBA, and Linux's own.
const EXTENDED: [u8; 3] = [0x05, 0x0f, 0x85];

/// The maximum number of logical partitions. Linux reads at most 256 partitions of a disk.
const MAX_LOGICAL: usize = 256;

/// An entry of a record that is in use.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    /// 1 to 4.
    number: u32,
    active: bool,
    pub(super) kind: u8,
    pub(super) first: u64,
    count: u64,
}

/// The entries of a record that are in use. There are none if the sector is not a record: a file system without a
/// partition table has the same signature, but code or text in place of the entries.
pub(super) fn entries(sector: &[u8]) -> Vec<Entry> {
    let raw = || sector[446..510].chunks_exact(16);
    // The first byte of an entry is 0x80 if it is active, and otherwise 0.
    if sector[510..512] != [0x55, 0xaa] || raw().any(|entry| entry[0] & 0x7f != 0) {
        return Vec::new();
    }
    let entry = |(number, entry): (u32, &[u8])| Entry {
        number,
        active: entry[0] != 0,
        kind: entry[4],
        first: le32(entry, 8).into(),
        count: le32(entry, 12).into(),
    };
    (1..).zip(raw()).map(entry).filter(|entry| entry.kind != 0).collect()
}

/// All partitions, and the sector at which the chain of logical partitions is broken.
pub(super) fn partitions(disk: &dyn DiskReader, entries: &[Entry]) -> Result<(Vec<Partition>, Option<u64>), DiskError> {
    // Systems ignore entries without sectors.
    let used = entries.iter().filter(|entry| entry.count > 0);
    let mut partitions: Vec<Partition> = used.map(|entry| partition(entry, 0, entry.number)).collect();
    let mut broken = None;
    for extended in entries.iter().filter(|entry| EXTENDED.contains(&entry.kind) && entry.count > 0) {
        broken = broken.or(logical(disk, extended, &mut partitions)?);
    }
    Ok((partitions, broken))
}

/// The partition of an entry that has sectors; `base` is the sector to which the entry is relative.
fn partition(entry: &Entry, base: u64, number: u32) -> Partition {
    Partition {
        number,
        name: String::new(),
        kind: PartitionType::Mbr(entry.kind),
        first: base + entry.first,
        last: base + entry.first + entry.count - 1,
        bootable: entry.active,
    }
}

/// Follows the chain of records in an extended partition: the first entry of each is a logical partition, relative to
/// the record; the second is the next record, relative to the extended partition.
fn logical(disk: &dyn DiskReader, extended: &Entry, partitions: &mut Vec<Partition>) -> Result<Option<u64>, DiskError> {
    let (start, end) = (extended.first, extended.first + extended.count);
    let mut record = start;
    for n in 0..MAX_LOGICAL {
        if (record + 1) * SECTOR > disk.size() {
            // At the first record, the extended partition itself is beyond the end, which is reported.
            return Ok(if n == 0 { None } else { Some(record) });
        }
        let mut sector = [0; 512];
        disk.read_at(record * SECTOR, &mut sector)?;
        if sector[510..512] != [0x55, 0xaa] {
            return Ok(Some(record));
        }
        let entries = entries(&sector);
        for entry in entries.iter().filter(|entry| !EXTENDED.contains(&entry.kind) && entry.count > 0) {
            let logical = partitions.iter().filter(|partition| partition.number > 4).count();
            let number = u32::try_from(logical).unwrap_or(u32::MAX).saturating_add(5);
            partitions.push(partition(entry, record, number));
        }
        let next = entries.iter().find(|entry| EXTENDED.contains(&entry.kind) && entry.count > 0);
        let Some(next) = next else { return Ok(None) };
        record = start + next.first;
        if record >= end || next.first == 0 {
            return Ok(Some(record));
        }
    }
    Ok(Some(record))
}

/// Whether a partition is the container of the logical ones.
pub(crate) fn is_extended(kind: PartitionType) -> bool {
    matches!(kind, PartitionType::Mbr(kind) if EXTENDED.contains(&kind))
}
