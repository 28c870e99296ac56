//! Dynamic disks: a table says where each block lies, and a bitmap before each block which of its sectors were written.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;

use super::SECTOR;
use super::error::VhdError;
use super::footer::{Footer, be32, be64, checksum_without};

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
        // As many entries as the disk needs: bounded by the file's length, whatever the header claims.
        let bytes = usize::try_from(needed * 4).map_err(|_| damaged("the block table is too large".to_owned()))?;
        let raw = read_at(file, be64(&header, TABLE_OFFSET), bytes, length, "the block table")?;
        let table = raw.chunks_exact(4).map(|entry| be32(entry, 0..4)).collect();
        let bitmap_size = (block_size / SECTOR).div_ceil(8).next_multiple_of(SECTOR);
        let blocks = Self { block_size, bitmap_size, size, table };
        blocks.check(length)?;
        Ok(blocks)
    }

    fn check(&self, length: u64) -> Result<(), VhdError> {
        let whole = self.bitmap_size + self.block_size;
        let mut places: Vec<u64> =
            self.table.iter().filter(|&&at| at != UNALLOCATED).map(|&at| u64::from(at) * SECTOR).collect();
        places.sort_unstable();
        if places.windows(2).any(|pair| pair[1] - pair[0] < whole) {
            return Err(VhdError::Damaged { reason: "blocks of the dynamic disk overlap".to_owned() });
        }
        match places.last() {
            Some(last) if last + whole > length => Err(VhdError::Truncated { needed: last + whole, length }),
            _ => Ok(()),
        }
    }

    /// The ranges of the disk whose blocks were written, neighbours joined.
    pub(super) fn ranges(&self) -> Vec<Range<u64>> {
        let mut ranges: Vec<Range<u64>> = Vec::new();
        for (n, _) in (0_u64..).zip(&self.table).filter(|(_, at)| **at != UNALLOCATED) {
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
