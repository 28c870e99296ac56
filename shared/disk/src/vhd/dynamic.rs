//! Dynamic disks: a table says where each block lies, and a bitmap before each block which of its sectors were written.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;

use super::SECTOR;
use super::error::VhdError;
use super::footer::{FOOTER_SIZE, Footer, be32, be64, checksum_without};

const HEADER_SIZE: usize = 1024;
const COOKIE: &[u8; 8] = b"cxsparse";
const TABLE_OFFSET: Range<usize> = 16..24;
const MAX_ENTRIES: Range<usize> = 28..32;
const BLOCK_SIZE: Range<usize> = 32..36;
const CHECKSUM: Range<usize> = 36..40;

/// An entry of the table for a block that was never written.
const UNALLOCATED: u32 = u32::MAX;

/// Blocks are a power of two in this range, in bytes; 2 MiB by default.
const BLOCK_SIZES: std::ops::RangeInclusive<u64> = 4096..=256 * 1024 * 1024;

/// The most blocks of a disk. The format ends at 2,040 GiB and writers use blocks of 512 KiB or more: 4,177,920 blocks.
/// A table of twice that takes 32 MiB; without a limit, a sparse file could make us allocate 16 GiB.
const MOST_BLOCKS: u64 = 1 << 23;

/// Where the blocks of a dynamic disk lie.
#[derive(Debug)]
pub(super) struct Blocks {
    block_size: u64,
    bitmap_size: u64,
    size: u64,
    /// The sector at which each block's bitmap begins.
    table: Vec<u32>,
}

impl Blocks {
    /// Reads header and table. Every block is checked to lie inside the file, and none upon another.
    pub(super) fn open(file: &File, length: u64, footer: &Footer) -> Result<Self, VhdError> {
        let damaged = |reason: String| VhdError::Damaged { reason };
        let header = read_at(file, footer.data_offset(), HEADER_SIZE, length, "the dynamic disk's header")?;
        if header[..8] != *COOKIE {
            return Err(damaged("the dynamic disk's header does not begin with 'cxsparse'".to_owned()));
        }
        if be32(&header, CHECKSUM) != checksum_without(&header, CHECKSUM) {
            return Err(damaged("the dynamic disk's header has a wrong checksum".to_owned()));
        }
        let block_size = u64::from(be32(&header, BLOCK_SIZE));
        if !block_size.is_power_of_two() || !BLOCK_SIZES.contains(&block_size) {
            return Err(damaged(format!("the dynamic disk's blocks have {block_size} bytes")));
        }
        let size = footer.size();
        let needed = size.div_ceil(block_size);
        let entries = u64::from(be32(&header, MAX_ENTRIES));
        if entries < needed {
            return Err(damaged(format!("the block table has {entries} entries, the disk needs {needed}")));
        }
        if needed > MOST_BLOCKS {
            return Err(damaged(format!(
                "the disk has {needed} blocks, more than the {MOST_BLOCKS} that a VHD can need"
            )));
        }
        // As many entries as the disk needs, whatever the header claims; by the limit above they fit.
        let bytes = usize::try_from(needed * 4).map_err(|_| damaged("the block table is too large".to_owned()))?;
        let table_offset = be64(&header, TABLE_OFFSET);
        let raw = read_at(file, table_offset, bytes, length, "the block table")?;
        let table = raw.chunks_exact(4).map(|entry| be32(entry, 0..4)).collect();
        let bitmap_size = (block_size / SECTOR).div_ceil(8).next_multiple_of(SECTOR);
        let blocks = Self { block_size, bitmap_size, size, table };
        // Both were read above, so neither end overflows.
        let structures = [
            0..FOOTER_SIZE as u64,
            footer.data_offset()..footer.data_offset() + HEADER_SIZE as u64,
            table_offset..table_offset + bytes as u64,
        ];
        blocks.check(&structures, length)?;
        Ok(blocks)
    }

    /// Checks that every block ends before the footer, and that none lies upon another or upon one of the structures.
    fn check(&self, structures: &[Range<u64>], length: u64) -> Result<(), VhdError> {
        let whole = self.bitmap_size + self.block_size;
        let mut places: Vec<Range<u64>> = self.written().map(|(_, at)| at..at + whole).collect();
        let needed = places.iter().map(|place| place.end).max().unwrap_or(0) + FOOTER_SIZE as u64;
        places.extend_from_slice(structures);
        places.sort_unstable_by_key(|place| place.start);
        if let Some(pair) = places.windows(2).find(|pair| pair[1].start < pair[0].end) {
            let reason = format!("the dynamic disk's blocks or structures overlap at byte {}", pair[1].start);
            return Err(VhdError::Damaged { reason });
        }
        if needed > length {
            return Err(VhdError::Truncated { needed, length });
        }
        Ok(())
    }

    /// The blocks that were written: number, and where in the file the bitmap before it begins, in bytes.
    fn written(&self) -> impl Iterator<Item = (u64, u64)> {
        (0..).zip(&self.table).filter(|(_, at)| **at != UNALLOCATED).map(|(n, at)| (n, u64::from(*at) * SECTOR))
    }

    /// The ranges of the disk whose blocks were written, neighbours joined.
    pub(super) fn ranges(&self) -> Vec<Range<u64>> {
        let mut ranges: Vec<Range<u64>> = Vec::new();
        for (n, _) in self.written() {
            let block = n * self.block_size..((n + 1) * self.block_size).min(self.size);
            match ranges.last_mut() {
                Some(last) if last.end == block.start => last.end = block.end,
                _ => ranges.push(block),
            }
        }
        ranges
    }

    /// Reads part of the disk. What was never written is zero.
    pub(super) fn read(&self, file: &File, offset: u64, buffer: &mut [u8]) -> std::io::Result<()> {
        let mut done = 0;
        while done < buffer.len() {
            let at = offset + done as u64;
            let inside = at % self.block_size;
            let left = usize::try_from(self.block_size - inside).unwrap_or(usize::MAX);
            let part = left.min(buffer.len() - done);
            let piece = &mut buffer[done..done + part];
            let block = usize::try_from(at / self.block_size).ok().and_then(|n| self.table.get(n));
            match block {
                Some(&sector) if sector != UNALLOCATED => {
                    self.read_block(file, u64::from(sector) * SECTOR, inside, piece)?;
                }
                _ => piece.fill(0),
            }
            done += part;
        }
        Ok(())
    }

    fn read_block(&self, file: &File, block: u64, inside: u64, piece: &mut [u8]) -> std::io::Result<()> {
        file.read_exact_at(piece, block + self.bitmap_size + inside)?;
        // Of the bitmap only what the piece touches: a bit a sector, the highest bit first.
        let (first, last) = (inside / SECTOR, (inside + piece.len() as u64).div_ceil(SECTOR));
        let (from, to) = (first / 8, last.div_ceil(8));
        let mut bitmap = vec![0; usize::try_from(to - from).unwrap_or(0)];
        file.read_exact_at(&mut bitmap, block + from)?;
        if bitmap.iter().all(|&byte| byte == 0xff) {
            return Ok(());
        }
        let mut sector = first;
        let mut rest = piece;
        while !rest.is_empty() {
            let length = usize::try_from(SECTOR - if sector == first { inside % SECTOR } else { 0 }).unwrap_or(512);
            let (head, tail) = rest.split_at_mut(length.min(rest.len()));
            let byte = usize::try_from(sector / 8 - from).ok().and_then(|at| bitmap.get(at)).copied().unwrap_or(0);
            if byte & (0x80 >> (sector % 8)) == 0 {
                head.fill(0);
            }
            rest = tail;
            sector += 1;
        }
        Ok(())
    }
}

fn read_at(file: &File, offset: u64, size: usize, length: u64, what: &str) -> Result<Vec<u8>, VhdError> {
    let needed = offset
        .checked_add(size as u64)
        .ok_or_else(|| VhdError::Damaged { reason: format!("{what} would lie beyond every file") })?;
    if needed > length {
        return Err(VhdError::Truncated { needed, length });
    }
    let mut bytes = vec![0; size];
    file.read_exact_at(&mut bytes, offset).map_err(|source| VhdError::Read { source })?;
    Ok(bytes)
}
