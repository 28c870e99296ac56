//! The volumes of a disk: partitions, and logical volumes inside them.

pub mod lvm;
pub mod partitions;
pub mod signature;

use std::ops::Range;
use std::sync::Arc;

use goldfleet_disk::{DiskError, DiskReader};

/// A partition as the partition table states it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// The number in the table, from 1.
    pub number: u32,
    /// GPT: the type's GUID in lower case. MBR: the type as two hexadecimal digits.
    pub kind: String,
    /// The identifier as in `PARTUUID=`: GPT's unique GUID in lower case, or MBR's disk signature and number
    /// (`1234abcd-01`).
    pub part_uuid: String,
    /// GPT's partition name. Empty in an MBR.
    pub name: String,
}

/// A continuous range of bytes of a disk, or a logical volume made of several.
#[derive(Debug, Clone)]
pub struct Volume {
    /// How to name it in a message: `partition 1`, `logical volume vg/root`, `the whole disk`.
    pub title: String,
    /// The partition that it is, or that holds it.
    pub partition: Option<Partition>,
    /// Volume group and name of a logical volume.
    pub lvm: Option<(String, String)>,
    disk: Arc<dyn DiskReader>,
    /// Ranges of the disk, in the order in which they make up the volume.
    parts: Arc<[Range<u64>]>,
    size: u64,
}

impl Volume {
    /// The ranges `parts` of `disk`, one after the other. Parts beyond the disk's end fail when they are read.
    #[must_use]
    pub fn new(title: String, disk: Arc<dyn DiskReader>, parts: Vec<Range<u64>>) -> Self {
        let size = parts.iter().fold(0u64, |sum, part| sum.saturating_add(part.end.saturating_sub(part.start)));
        Self { title, partition: None, lvm: None, disk, parts: parts.into(), size }
    }

    /// The disk that the volume is a part of.
    #[must_use]
    pub(crate) fn disk_of(&self) -> Arc<dyn DiskReader> {
        Arc::clone(&self.disk)
    }

    /// The ranges of the disk that a range of the volume consists of.
    pub(crate) fn on_disk(&self, range: Range<u64>) -> Vec<Range<u64>> {
        let mut out = Vec::new();
        let mut start = 0u64;
        for part in self.parts.iter() {
            let length = part.end.saturating_sub(part.start);
            let from = range.start.max(start);
            let to = range.end.min(start.saturating_add(length));
            if from < to {
                out.push(part.start + (from - start)..part.start + (to - start));
            }
            start = start.saturating_add(length);
        }
        out
    }

    /// Where the volume's first byte is on the disk, in bytes.
    #[must_use]
    pub fn start(&self) -> u64 {
        self.parts.first().map_or(0, |part| part.start)
    }
}

impl DiskReader for Volume {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), DiskError> {
        let length = buffer.len() as u64;
        if offset.checked_add(length).is_none_or(|end| end > self.size) {
            return Err(DiskError::OutOfRange { offset, length, size: self.size });
        }
        let mut skip = offset;
        let mut rest = buffer;
        for part in self.parts.iter() {
            if rest.is_empty() {
                break;
            }
            let part_length = part.end.saturating_sub(part.start);
            if skip >= part_length {
                skip -= part_length;
                continue;
            }
            let count = usize::try_from(part_length - skip).unwrap_or(usize::MAX).min(rest.len());
            let (now, later) = rest.split_at_mut(count);
            self.disk.read_at(part.start + skip, now)?;
            skip = 0;
            rest = later;
        }
        Ok(())
    }

    /// Inspections read only what they need, so that nothing is gained by the disk's holes here.
    fn next_data(&self, offset: u64) -> Result<Option<Range<u64>>, DiskError> {
        Ok((offset < self.size).then_some(offset..self.size))
    }
}

#[cfg(test)]
mod tests {
    use goldfleet_disk::MemoryDisk;

    use super::*;

    #[test]
    fn a_volume_of_two_parts_reads_across_them() {
        let disk = Arc::new(MemoryDisk((0..100).collect()));
        let volume = Volume::new("v".into(), disk, vec![50..60, 10..15]);
        assert_eq!(volume.size(), 15);
        let mut buffer = [0; 7];
        volume.read_at(7, &mut buffer).unwrap();
        assert_eq!(buffer, [57, 58, 59, 10, 11, 12, 13]);
        assert!(matches!(volume.read_at(10, &mut [0; 6]), Err(DiskError::OutOfRange { .. })));
    }

    #[test]
    fn a_part_beyond_the_disk_fails_when_it_is_read() {
        let volume = Volume::new("v".into(), Arc::new(MemoryDisk(vec![0; 10])), vec![0..5, 100..105]);
        assert!(volume.read_at(0, &mut [0; 5]).is_ok());
        assert!(volume.read_at(4, &mut [0; 2]).is_err());
    }
}
