//! A VHDX as the disk that it holds.

use std::ops::Range;
use std::sync::Arc;

use super::header::{Header, Regions};
use super::log::Replayed;
use super::metadata::Metadata;
use super::{MIB, SIGNATURE};
use crate::bitset::UnitSet;
use crate::blocks::{self, Blocks, Place, for_each_block, read_parent};
use crate::bytes::{guid_text, index};
use crate::cache::{MAX_WINDOW, TableCache};
use crate::reader::{check_range, read_part, require};
use crate::{DiskError, DiskReader};

/// The sectors that one bitmap block of 1 MiB describes.
const SECTORS_PER_BITMAP: u64 = 1 << 23;

/// A fixed, dynamic or differencing VHDX, read after the replay of its log.
#[derive(Debug)]
pub(crate) struct Vhdx {
    source: Arc<dyn DiskReader>,
    tables: TableCache,
    bat_offset: u64,
    log: Range<u64>,
    structures: [Range<u64>; 2],
    metadata: Metadata,
    /// Payload blocks for each sector bitmap block.
    chunk_ratio: u64,
    id: String,
    replayed: bool,
    parent: Option<Arc<dyn DiskReader>>,
}

/// A block by its table entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Block {
    Zero,
    /// All of it is at this offset.
    Present(u64),
    /// The sectors whose bits are set are at this offset.
    Partial(u64),
    Parent,
}

impl Vhdx {
    /// Reads the structures. A differencing disk cannot be read before [`Self::set_parent`].
    pub(crate) fn open(file: Arc<dyn DiskReader>) -> Result<Self, DiskError> {
        if read_part(&*file, 0, SIGNATURE.len(), "the file type identifier")? != SIGNATURE {
            return Err(DiskError::damaged("the file does not begin with 'vhdxfile'"));
        }
        let header = Header::read(&*file)?;
        let (replayed, changed) = Replayed::new(file, &header)?;
        let source: Arc<dyn DiskReader> = Arc::new(replayed);
        let regions = Regions::read(&*source)?;
        let metadata = Metadata::read(&*source, regions.metadata)?;
        let chunk_ratio = (SECTORS_PER_BITMAP * metadata.logical_sector / metadata.block_size).max(1);
        let disk = Self {
            tables: TableCache::new(Arc::clone(&source), MAX_WINDOW),
            bat_offset: regions.bat.offset,
            log: header.log_offset..header.log_offset.saturating_add(header.log_length.into()),
            structures: [regions.bat, regions.metadata]
                .map(|region| region.offset..region.offset.saturating_add(region.length)),
            source,
            metadata,
            chunk_ratio,
            id: guid_text(&header.data_write_guid),
            replayed: changed,
            parent: None,
        };
        let needed = disk.entry_count() * 8;
        if needed > regions.bat.length {
            return Err(DiskError::damaged(format!(
                "the VHDX block table has {} bytes, the disk needs {needed}",
                regions.bat.length
            )));
        }
        require(&*disk.source, disk.bat_offset, needed, "the block table")?;
        Ok(disk)
    }

    /// The id by which differencing disks name this one.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// The ids that the parent may have, if this is a differencing disk.
    pub(crate) fn parent_ids(&self) -> Option<&[String]> {
        self.metadata.parent.as_deref()
    }

    pub(crate) fn set_parent(&mut self, parent: Arc<dyn DiskReader>) {
        self.parent = Some(parent);
    }

    /// The size of the sectors that the guest sees, in bytes.
    pub(crate) fn logical_sector(&self) -> u64 {
        self.metadata.logical_sector
    }

    /// Whether the log held changes.
    pub(crate) fn log_was_replayed(&self) -> bool {
        self.replayed
    }

    fn block_count(&self) -> u64 {
        self.metadata.size.div_ceil(self.metadata.block_size)
    }

    /// How many entries the block table needs. After each chunk there is one for a sector bitmap.
    fn entry_count(&self) -> u64 {
        let blocks = self.block_count();
        match self.metadata.parent {
            None => blocks + blocks.saturating_sub(1) / self.chunk_ratio,
            Some(_) => blocks.div_ceil(self.chunk_ratio) * (self.chunk_ratio + 1),
        }
    }

    fn entry(&self, number: u64) -> Result<(u64, u64), DiskError> {
        let entry = self.tables.le64(self.bat_offset + number * 8, "the block table")?;
        // Bits 20 to 63 are the offset in MiB.
        Ok((entry & 7, entry & !(MIB - 1)))
    }

    fn block(&self, block: u64) -> Result<Block, DiskError> {
        let (state, offset) = self.entry(block + block / self.chunk_ratio)?;
        let differencing = self.metadata.parent.is_some();
        Ok(match state {
            0 if differencing => Block::Parent,
            // Not present, undefined, zero, unmapped: all of them may be read as zeros.
            0..=3 => Block::Zero,
            6 => Block::Present(offset),
            7 if differencing => Block::Partial(offset),
            _ => return Err(DiskError::damaged(format!("block {block} of the VHDX has state {state}"))),
        })
    }

    fn read_block(&self, block: u64, inside: u64, part: &mut [u8]) -> Result<(), DiskError> {
        let at = block * self.metadata.block_size + inside;
        match self.block(block)? {
            Block::Zero => {
                part.fill(0);
                Ok(())
            }
            Block::Parent => read_parent(self.parent.as_deref(), at, part),
            Block::Present(offset) => self.read_payload(offset + inside, part),
            Block::Partial(offset) => self.read_partial(block, offset, inside, part),
        }
    }

    fn read_payload(&self, offset: u64, part: &mut [u8]) -> Result<(), DiskError> {
        require(&*self.source, offset, part.len() as u64, "a block")?;
        self.source.read_at(offset, part)
    }

    /// Reads a part of a block of which some sectors are in the parent.
    fn read_partial(&self, block: u64, offset: u64, inside: u64, part: &mut [u8]) -> Result<(), DiskError> {
        let sector_size = self.metadata.logical_sector;
        let chunk = block / self.chunk_ratio;
        let (state, bitmap) = self.entry(chunk * (self.chunk_ratio + 1) + self.chunk_ratio)?;
        if state != 6 {
            return Err(DiskError::damaged(format!("block {block} of the VHDX has no sector bitmap")));
        }
        // The bitmap of the chunk begins with the chunk's first sector, and each byte with its lowest bit.
        let in_chunk = (block % self.chunk_ratio) * self.metadata.block_size / sector_size;
        let (first, end) = (inside / sector_size, (inside + part.len() as u64).div_ceil(sector_size));
        let from = (in_chunk + first) / 8;
        let mut bits = vec![0; index((in_chunk + end).div_ceil(8) - from)];
        self.tables.read(bitmap + from, &mut bits, "a sector bitmap")?;
        let has = |sector: u64| {
            let bit = in_chunk + sector;
            bits.get(index(bit / 8 - from)).is_some_and(|byte| byte >> (bit % 8) & 1 != 0)
        };
        let mut sector = first;
        while sector < end {
            let present = has(sector);
            let next = (sector + 1..end).find(|&next| has(next) != present).unwrap_or(end);
            let (start, stop) = ((sector * sector_size).max(inside) - inside, next * sector_size - inside);
            let stop = index(stop).min(part.len());
            let piece = &mut part[index(start)..stop];
            if present {
                self.read_payload(offset + inside + start, piece)?;
            } else {
                read_parent(self.parent.as_deref(), block * self.metadata.block_size + inside + start, piece)?;
            }
            sector = next;
        }
        Ok(())
    }
}

impl Blocks for Vhdx {
    fn disk_size(&self) -> u64 {
        self.metadata.size
    }

    fn block_size(&self) -> u64 {
        self.metadata.block_size
    }

    fn place(&self, block: u64) -> Result<(Place, u64), DiskError> {
        let place = match self.block(block)? {
            Block::Zero => Place::Zero,
            Block::Parent => Place::Parent,
            Block::Present(_) | Block::Partial(_) => Place::Own,
        };
        Ok((place, 1))
    }

    fn parent(&self) -> Option<&dyn DiskReader> {
        self.parent.as_deref()
    }
}

impl DiskReader for Vhdx {
    fn size(&self) -> u64 {
        self.metadata.size
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), DiskError> {
        check_range(self.size(), offset, buffer.len())?;
        let size = self.metadata.block_size;
        for_each_block(size, offset, buffer, |block, inside, part| self.read_block(block, inside, part))
    }

    fn next_data(&self, offset: u64) -> Result<Option<Range<u64>>, DiskError> {
        blocks::next_data(self, offset)
    }

    fn verify(&self, check_limits: &dyn Fn() -> Result<(), DiskError>) -> Result<(), DiskError> {
        let length = self.source.size();
        let mut used = UnitSet::new(length, MIB)?;
        used.mark(0..MIB, "the header section")?;
        if !self.log.is_empty() {
            require(&*self.source, self.log.start, self.log.end - self.log.start, "the log")?;
            used.mark(self.log.clone(), "the log")?;
        }
        for region in &self.structures {
            require(&*self.source, region.start, region.end - region.start, "a region")?;
            used.mark(region.clone(), "a region")?;
        }
        for n in 0..self.block_count() {
            if n % blocks::LIMITS_INTERVAL == 0 {
                check_limits()?;
            }
            if let Block::Present(offset) | Block::Partial(offset) = self.block(n)? {
                // Of the last block, only what the disk needs has to be in the file.
                let needed = self.metadata.block_size.min(self.metadata.size - n * self.metadata.block_size);
                require(&*self.source, offset, needed, "a block")?;
                used.mark(offset..offset + needed, "a block")?;
            }
        }
        if self.metadata.parent.is_some() {
            for chunk in 0..self.block_count().div_ceil(self.chunk_ratio) {
                let (state, offset) = self.entry(chunk * (self.chunk_ratio + 1) + self.chunk_ratio)?;
                if state == 6 {
                    require(&*self.source, offset, MIB, "a sector bitmap")?;
                    used.mark(offset..offset + MIB, "a sector bitmap")?;
                }
            }
        }
        Ok(())
    }
}
