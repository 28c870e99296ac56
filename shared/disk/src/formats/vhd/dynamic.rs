//! Dynamic and differencing disks. A table gives the place of each block; a block begins with a bitmap of its sectors.

use std::ops::Range;
use std::sync::Arc;

use super::SECTOR;
use super::footer::{DiskType, FOOTER_SIZE, Footer, checksum_without};
use crate::blocks::{self, Blocks, Place, find_overlap, for_each_block, read_parent};
use crate::bytes::{be32, be64, guid_at, index};
use crate::cache::{MAX_WINDOW, TableCache};
use crate::reader::{check_range, read_part, require};
use crate::{DiskError, DiskReader};

const HEADER_SIZE: usize = 1024;
const COOKIE: &[u8; 8] = b"cxsparse";
const TABLE_OFFSET: usize = 16;
const MAX_ENTRIES: usize = 28;
const BLOCK_SIZE: usize = 32;
const CHECKSUM: Range<usize> = 36..40;
const PARENT_ID: usize = 40;

/// The table entry of a block that was never written.
const UNALLOCATED: u32 = u32::MAX;

/// Blocks are a power of two in this range, in bytes. The default is 2 MiB.
const BLOCK_SIZES: std::ops::RangeInclusive<u64> = 4096..=256 * 1024 * 1024;

/// The maximum number of blocks of a disk. Disks of 2,040 GiB, the limit of the format, with blocks of 512 KiB, the
/// smallest that writers use, have 4,177,920 blocks.
const MAX_BLOCKS: u64 = 1 << 23;

/// A dynamic or differencing VHD.
#[derive(Debug)]
pub(crate) struct DynamicVhd {
    source: Arc<dyn DiskReader>,
    tables: TableCache,
    footer: Footer,
    /// The offset of the footer in the file.
    footer_at: u64,
    table_offset: u64,
    block_size: u64,
    bitmap_size: u64,
    parent_id: [u8; 16],
    parent: Option<Arc<dyn DiskReader>>,
}

impl DynamicVhd {
    /// Reads the header. A differencing disk cannot be read before [`Self::set_parent`].
    pub(crate) fn open(source: Arc<dyn DiskReader>, footer: Footer, footer_at: u64) -> Result<Self, DiskError> {
        let header = read_part(&*source, footer.data_offset(), HEADER_SIZE, "the dynamic disk's header")?;
        if header[..8] != *COOKIE {
            return Err(DiskError::damaged("the dynamic disk's header does not begin with 'cxsparse'"));
        }
        if be32(&header, CHECKSUM.start) != checksum_without(&header, CHECKSUM) {
            return Err(DiskError::damaged("the dynamic disk's header has a wrong checksum"));
        }
        let block_size = u64::from(be32(&header, BLOCK_SIZE));
        if !block_size.is_power_of_two() || !BLOCK_SIZES.contains(&block_size) {
            return Err(DiskError::damaged(format!(
                "the dynamic disk's blocks have {block_size} bytes, which is not a power of two from 4 KiB to 256 MiB"
            )));
        }
        let needed = footer.size().div_ceil(block_size);
        let entries = u64::from(be32(&header, MAX_ENTRIES));
        if entries < needed {
            return Err(DiskError::damaged(format!("the block table has {entries} entries, the disk needs {needed}")));
        }
        if needed > MAX_BLOCKS {
            return Err(DiskError::damaged(format!(
                "the disk has {needed} blocks, more than the {MAX_BLOCKS} that a VHD can need"
            )));
        }
        let table_offset = be64(&header, TABLE_OFFSET);
        require(&*source, table_offset, needed * 4, "the block table")?;
        Ok(Self {
            tables: TableCache::new(Arc::clone(&source), MAX_WINDOW),
            bitmap_size: (block_size / SECTOR).div_ceil(8).next_multiple_of(SECTOR),
            parent_id: guid_at(&header, PARENT_ID),
            source,
            footer,
            footer_at,
            table_offset,
            block_size,
            parent: None,
        })
    }

    /// The id of the disk that this one holds the differences to.
    pub(crate) fn parent_id(&self) -> Option<[u8; 16]> {
        (self.footer.disk_type() == DiskType::Differencing).then_some(self.parent_id)
    }

    pub(crate) fn set_parent(&mut self, parent: Arc<dyn DiskReader>) {
        self.parent = Some(parent);
    }

    /// The offset of a block's bitmap in the file; `None` if the block is not allocated.
    fn block(&self, block: u64) -> Result<Option<u64>, DiskError> {
        let entry = self.tables.be32(self.table_offset + block * 4, "the block table")?;
        Ok((entry != UNALLOCATED).then_some(u64::from(entry) * SECTOR))
    }

    /// Reads a part of a block. Sectors whose bit is not set are zero or in the parent.
    fn read_block(&self, block: u64, inside: u64, part: &mut [u8]) -> Result<(), DiskError> {
        let offset = block * self.block_size + inside;
        let Some(at) = self.block(block)? else { return read_parent(self.parent.as_deref(), offset, part) };
        let (first, end) = (inside / SECTOR, (inside + part.len() as u64).div_ceil(SECTOR));
        let from = first / 8;
        let mut bitmap = vec![0; index(end.div_ceil(8) - from)];
        self.tables.read(at + from, &mut bitmap, "a block's bitmap")?;
        // Each sector has a bit. The highest bit of a byte is the first one.
        let has =
            |sector: u64| bitmap.get(index(sector / 8 - from)).is_some_and(|byte| byte << (sector % 8) & 0x80 != 0);
        let mut sector = first;
        while sector < end {
            let present = has(sector);
            let next = (sector + 1..end).find(|&next| has(next) != present).unwrap_or(end);
            let (start, stop) = ((sector * SECTOR).max(inside) - inside, next * SECTOR - inside);
            let stop = index(stop).min(part.len());
            let piece = &mut part[index(start)..stop];
            if present {
                let data = at + self.bitmap_size + inside + start;
                require(&*self.source, data, piece.len() as u64, "a block")?;
                self.source.read_at(data, piece)?;
            } else {
                read_parent(self.parent.as_deref(), offset + start, piece)?;
            }
            sector = next;
        }
        Ok(())
    }
}

impl Blocks for DynamicVhd {
    fn disk_size(&self) -> u64 {
        self.footer.size()
    }

    fn block_size(&self) -> u64 {
        self.block_size
    }

    fn place(&self, block: u64) -> Result<(Place, u64), DiskError> {
        let absent = if self.parent.is_some() { Place::Parent } else { Place::Zero };
        Ok((if self.block(block)?.is_some() { Place::Own } else { absent }, 1))
    }

    fn parent(&self) -> Option<&dyn DiskReader> {
        self.parent.as_deref()
    }
}

impl DiskReader for DynamicVhd {
    fn size(&self) -> u64 {
        self.footer.size()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), DiskError> {
        check_range(self.size(), offset, buffer.len())?;
        for_each_block(self.block_size, offset, buffer, |block, inside, part| self.read_block(block, inside, part))
    }

    fn next_data(&self, offset: u64) -> Result<Option<Range<u64>>, DiskError> {
        blocks::next_data(self, offset)
    }

    fn verify(&self, check_limits: &dyn Fn() -> Result<(), DiskError>) -> Result<(), DiskError> {
        let count = self.size().div_ceil(self.block_size);
        let mut places = Vec::new();
        for n in 0..count {
            if n % blocks::LIMITS_INTERVAL == 0 {
                check_limits()?;
            }
            if let Some(at) = self.block(n)? {
                // Sectors of the last block beyond the disk's end may be missing.
                let data = self.block_size.min(self.size() - n * self.block_size);
                places.push(at..at + self.bitmap_size + data);
            }
        }
        let needed = places.iter().map(|place| place.end).max().unwrap_or(0);
        if needed > self.footer_at {
            return Err(DiskError::Truncated {
                what: "the last of its blocks, with the footer,".to_owned(),
                needed: needed + FOOTER_SIZE as u64,
                length: self.source.size(),
            });
        }
        let header = self.footer.data_offset();
        places.push(0..FOOTER_SIZE as u64);
        places.push(header..header + HEADER_SIZE as u64);
        places.push(self.table_offset..self.table_offset + count * 4);
        match find_overlap(&mut places) {
            Some(at) => {
                Err(DiskError::damaged(format!("the dynamic disk's blocks or structures overlap at byte {at}")))
            }
            None => Ok(()),
        }
    }
}
