//! Data ranges and reads of disks that are divided into blocks.

use std::ops::Range;

use crate::{DiskError, DiskReader};

/// Where the content of a block is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// The block is zero.
    Zero,
    /// At least some of the block is in this image.
    Own,
    /// All of the block is in the parent.
    Parent,
}

/// A disk that is divided into blocks of equal size.
pub(crate) trait Blocks {
    /// The disk's size in bytes.
    fn disk_size(&self) -> u64;

    /// The size of a block in bytes, at least 1.
    fn block_size(&self) -> u64;

    /// Where a block is, and the number of blocks from this one on that are known to be in the same place, at least 1.
    fn place(&self, block: u64) -> Result<(Place, u64), DiskError>;

    /// The disk that holds the blocks that this image does not hold.
    fn parent(&self) -> Option<&dyn DiskReader> {
        None
    }
}

/// The number of table entries between two checks of time and cancellation.
pub(crate) const LIMITS_INTERVAL: u64 = 1 << 12;

/// The maximum number of blocks that are joined to one range, so that one call takes little time.
const MAX_JOINED: u64 = 1 << 14;

/// Implements [`DiskReader::next_data`] for disks that are divided into blocks.
pub(crate) fn next_data(disk: &impl Blocks, offset: u64) -> Result<Option<Range<u64>>, DiskError> {
    let (size, block_size) = (disk.disk_size(), disk.block_size());
    let start_of = |block: u64| block.saturating_mul(block_size).min(size);
    let mut at = offset;
    while at < size {
        let block = at / block_size;
        let (place, count) = disk.place(block)?;
        let mut next = block.saturating_add(count.max(1));
        match place {
            Place::Zero => {}
            Place::Own => {
                while start_of(next) < size && next - block < MAX_JOINED {
                    let (place, count) = disk.place(next)?;
                    if place != Place::Own {
                        break;
                    }
                    next = next.saturating_add(count.max(1));
                }
                return Ok(Some(at..start_of(next)));
            }
            Place::Parent => {
                let wanted = match disk.parent() {
                    Some(parent) => parent.next_data(at)?,
                    None => None,
                };
                // The parent's data counts only in blocks that this image does not hold.
                let limit = wanted.as_ref().map_or(at, |range| range.end.min(size));
                while start_of(next) < limit {
                    let (place, count) = disk.place(next)?;
                    if place != Place::Parent {
                        break;
                    }
                    next = next.saturating_add(count.max(1));
                }
                if let Some(range) = wanted
                    && range.start < start_of(next)
                {
                    return Ok(Some(range.start..range.end.min(start_of(next))));
                }
            }
        }
        at = start_of(next);
    }
    Ok(None)
}

/// Fills `buffer` from a parent. The parent may be shorter than the disk: bytes beyond its end are zero.
pub(crate) fn read_parent(parent: Option<&dyn DiskReader>, offset: u64, buffer: &mut [u8]) -> Result<(), DiskError> {
    let inside = parent.map_or(0, |parent| parent.size().saturating_sub(offset)).min(buffer.len() as u64);
    let (head, tail) = buffer.split_at_mut(crate::bytes::index(inside));
    if let (Some(parent), false) = (parent, head.is_empty()) {
        parent.read_at(offset, head)?;
    }
    tail.fill(0);
    Ok(())
}

/// Divides a read into the parts that lie in single blocks: block number, offset inside the block, part of the buffer.
pub(crate) fn for_each_block(
    block_size: u64,
    offset: u64,
    buffer: &mut [u8],
    mut read: impl FnMut(u64, u64, &mut [u8]) -> Result<(), DiskError>,
) -> Result<(), DiskError> {
    let (mut at, mut rest) = (offset, buffer);
    while !rest.is_empty() {
        let inside = at % block_size;
        let length = crate::bytes::index(block_size - inside).min(rest.len());
        let (part, others) = rest.split_at_mut(length);
        read(at / block_size, inside, part)?;
        at += length as u64;
        rest = others;
    }
    Ok(())
}

/// The offset at which two of the ranges overlap. `places` are the ranges of all parts of an image.
pub(crate) fn find_overlap(places: &mut [Range<u64>]) -> Option<u64> {
    places.sort_unstable_by_key(|place| place.start);
    let mut end = 0;
    for place in places.iter().filter(|place| place.start < place.end) {
        if place.start < end {
            return Some(place.start);
        }
        end = place.end;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemoryDisk;

    #[derive(Debug)]
    struct Pattern(&'static [u8], MemoryDisk);

    impl Blocks for Pattern {
        fn disk_size(&self) -> u64 {
            self.0.len() as u64 * 10 - 5
        }
        fn block_size(&self) -> u64 {
            10
        }
        fn place(&self, block: u64) -> Result<(Place, u64), DiskError> {
            Ok((
                match self.0[usize::try_from(block).unwrap()] {
                    b'o' => Place::Own,
                    b'p' => Place::Parent,
                    _ => Place::Zero,
                },
                1,
            ))
        }
        fn parent(&self) -> Option<&dyn DiskReader> {
            Some(&self.1)
        }
    }

    fn ranges(disk: &Pattern) -> Vec<Range<u64>> {
        let (mut at, mut found) = (0, Vec::new());
        while let Some(range) = next_data(disk, at).unwrap() {
            assert!(range.start >= at && range.start < range.end, "{range:?} at {at}");
            at = range.end;
            found.push(range);
        }
        found
    }

    #[test]
    fn ranges_come_from_the_image_and_its_parent() {
        let disk = Pattern(b"oo.o.ppz.p.o", MemoryDisk(vec![1; 65]));
        assert_eq!(ranges(&disk), [0..20, 30..40, 50..65, 110..115]);
        assert_eq!(next_data(&disk, 55).unwrap(), Some(55..65));
        assert_eq!(next_data(&disk, 200).unwrap(), None);
    }

    #[test]
    fn overlaps_are_found() {
        assert_eq!(find_overlap(&mut [10..20, 0..10, 20..21, 5..5]), None);
        assert_eq!(find_overlap(&mut [10..20, 0..11]), Some(10));
        assert_eq!(find_overlap(&mut [0..100, 10..20, 30..40]), Some(10));
    }
}
