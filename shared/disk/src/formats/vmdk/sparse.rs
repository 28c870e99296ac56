//! Sparse extents: a directory of tables gives the place of each grain, which may be compressed.

use std::ops::Range;
use std::sync::Arc;

use flate2::{Decompress, FlushDecompress};

use super::descriptor::{Descriptor, MAX_DESCRIPTOR};
use super::{MAGIC, SECTOR};
use crate::bitset::UnitSet;
use crate::blocks::{self, Blocks, Place, for_each_block};
use crate::bytes::{index, le16, le32, le64};
use crate::cache::TableCache;
use crate::reader::{check_range, read_part, require};
use crate::{DiskError, DiskReader};

/// The maximum size of a disk in bytes, far above Azure's maximum for an OS disk.
pub(super) const MAX_DISK: u64 = 64 << 40;

/// The maximum size of a grain in sectors: 2 MiB. Writers use 64 KiB.
const MAX_GRAIN: u64 = 4096;

/// The maximum number of grains, with which a disk of 4 TiB can have grains of 4 KiB. All of them are examined.
const MAX_GRAINS: u64 = 1 << 30;

/// The maximum size of a file whose grains are checked for overlaps, in bytes. The check needs a bit for each sector.
const MAX_CHECKED: u64 = 256 << 30;

const HEADER_SIZE: usize = 512;
const NEWLINES_ARE_CHECKED: u32 = 1;
const HAS_ZERO_GRAINS: u32 = 1 << 2;
const IS_COMPRESSED: u32 = 1 << 16;
const HAS_MARKERS: u32 = 1 << 17;
/// The value of the field if the actual offset of the directory is in the footer, as in stream-optimised files.
const AT_END: u64 = u64::MAX;

/// A sparse or stream-optimised extent.
#[derive(Debug)]
pub(crate) struct SparseExtent {
    source: Arc<dyn DiskReader>,
    tables: TableCache,
    size: u64,
    /// The size of a grain in bytes.
    grain: u64,
    entries_per_table: u64,
    directory: u64,
    has_zero_grains: bool,
    compressed: bool,
    descriptor: Option<Descriptor>,
}

impl SparseExtent {
    pub(crate) fn open(source: Arc<dyn DiskReader>) -> Result<Self, DiskError> {
        let first = read_part(&*source, 0, HEADER_SIZE, "the header")?;
        let descriptor = Self::descriptor(&*source, &first)?;
        let header = if le64(&first, 56) == AT_END {
            // Before the end-of-stream marker of one sector.
            let at = source.size().saturating_sub(2 * SECTOR);
            read_part(&*source, at, HEADER_SIZE, "the footer")?
        } else {
            first
        };
        let extent = Self::parse(source, &header, descriptor)?;
        let needed = extent.table_count() * 4;
        require(&*extent.source, extent.directory, needed, "the grain directory")?;
        Ok(extent)
    }

    fn parse(source: Arc<dyn DiskReader>, header: &[u8], descriptor: Option<Descriptor>) -> Result<Self, DiskError> {
        if !header.starts_with(MAGIC) {
            return Err(DiskError::damaged("the VMDK has no valid header; a stream may be cut short"));
        }
        let (version, flags) = (le32(header, 4), le32(header, 8));
        if !(1..=3).contains(&version) {
            return Err(DiskError::Unsupported(format!("it is a VMDK of version {version}; 1 to 3 are known")));
        }
        if flags & NEWLINES_ARE_CHECKED != 0 && header[73..77] != *b"\n \r\n" {
            return Err(DiskError::damaged("the VMDK was changed by a transfer as text"));
        }
        let compressed = flags & IS_COMPRESSED != 0;
        if compressed && (flags & HAS_MARKERS == 0 || le16(header, 77) != 1) {
            return Err(DiskError::Unsupported("the VMDK is compressed in an unknown way".to_owned()));
        }
        let (capacity, grain) = (le64(header, 12), le64(header, 20));
        if !grain.is_power_of_two() || grain > MAX_GRAIN {
            return Err(DiskError::damaged(format!("the VMDK has grains of {grain} sectors")));
        }
        let size = capacity.checked_mul(SECTOR).filter(|size| *size <= MAX_DISK);
        let size = size.ok_or_else(|| DiskError::Limit(format!("the VMDK gives a size of {capacity} sectors")))?;
        if capacity.div_ceil(grain) > MAX_GRAINS {
            return Err(DiskError::Limit(format!("the VMDK has {} grains", capacity.div_ceil(grain))));
        }
        let entries_per_table = u64::from(le32(header, 44));
        if !(1..=512).contains(&entries_per_table) {
            return Err(DiskError::damaged(format!("the VMDK has tables of {entries_per_table} grains")));
        }
        let directory = le64(header, 56).checked_mul(SECTOR).filter(|at| *at > 0);
        Ok(Self {
            // As large as a table of 512 entries.
            tables: TableCache::new(Arc::clone(&source), 2048),
            source,
            size,
            grain: grain * SECTOR,
            entries_per_table,
            directory: directory.ok_or_else(|| DiskError::damaged("the VMDK has no grain directory"))?,
            has_zero_grains: flags & HAS_ZERO_GRAINS != 0,
            compressed,
            descriptor,
        })
    }

    /// The descriptor inside the extent. Extents of split disks have none.
    fn descriptor(source: &dyn DiskReader, header: &[u8]) -> Result<Option<Descriptor>, DiskError> {
        let (offset, size) = (le64(header, 28).saturating_mul(SECTOR), le64(header, 36).saturating_mul(SECTOR));
        if offset == 0 || size == 0 {
            return Ok(None);
        }
        if size > MAX_DESCRIPTOR {
            return Err(DiskError::damaged(format!("the VMDK has a descriptor of {size} bytes")));
        }
        Descriptor::parse(&read_part(source, offset, index(size), "the descriptor")?).map(Some)
    }

    /// Fails if the extent is only a part of a disk: the extents of a split disk have no descriptor, or an empty one.
    pub(crate) fn require_whole_disk(&self) -> Result<(), DiskError> {
        match &self.descriptor {
            Some(descriptor) if descriptor.extents.len() == 1 => Ok(()),
            _ => Err(DiskError::ExtentMissing(
                "the file is one extent of a VMDK that consists of several files".to_owned(),
            )),
        }
    }

    fn table_count(&self) -> u64 {
        self.size.div_ceil(self.grain).div_ceil(self.entries_per_table)
    }

    /// The offset of a table; `None` if none of its grains is allocated.
    fn table(&self, number: u64) -> Result<Option<u64>, DiskError> {
        let sector = self.tables.le32(self.directory + number * 4, "the grain directory")?;
        Ok((sector != 0).then_some(u64::from(sector) * SECTOR))
    }

    /// The offset of a grain; `None` if it is zero.
    fn entry(&self, table: u64, number: u64) -> Result<Option<u64>, DiskError> {
        let sector = self.tables.le32(table + number * 4, "a grain table")?;
        let zero = sector == 0 || sector == 1 && self.has_zero_grains;
        Ok((!zero).then_some(u64::from(sector) * SECTOR))
    }

    fn grain(&self, number: u64) -> Result<Option<u64>, DiskError> {
        match self.table(number / self.entries_per_table)? {
            Some(table) => self.entry(table, number % self.entries_per_table),
            None => Ok(None),
        }
    }

    fn read_grain(&self, number: u64, inside: u64, part: &mut [u8]) -> Result<(), DiskError> {
        match self.grain(number)? {
            None => {
                part.fill(0);
                Ok(())
            }
            Some(at) if self.compressed => {
                let bytes = self.decompress(number, at)?;
                // The last grain may be shorter.
                let start = index(inside).min(bytes.len());
                let length = part.len().min(bytes.len() - start);
                part[..length].copy_from_slice(&bytes[start..start + length]);
                part[length..].fill(0);
                Ok(())
            }
            Some(at) => {
                require(&*self.source, at + inside, part.len() as u64, "a grain")?;
                self.source.read_at(at + inside, part)
            }
        }
    }

    /// The length of the compressed data of a grain, by the marker before it.
    fn marker(&self, number: u64, at: u64) -> Result<u64, DiskError> {
        let mut marker = [0; 12];
        self.tables.read(at, &mut marker, "a grain")?;
        let (sector, length) = (le64(&marker, 0), u64::from(le32(&marker, 8)));
        if sector != number * (self.grain / SECTOR) {
            return Err(DiskError::damaged(format!("the grain at byte {at} belongs to another part of the disk")));
        }
        // Deflate never needs much more than the data itself.
        if length == 0 || length > 2 * self.grain + 1024 {
            return Err(DiskError::damaged(format!("the grain at byte {at} has {length} compressed bytes")));
        }
        Ok(length)
    }

    fn decompress(&self, number: u64, at: u64) -> Result<Vec<u8>, DiskError> {
        let length = self.marker(number, at)?;
        let data = read_part(&*self.source, at + 12, index(length), "a grain")?;
        let wanted = self.grain.min(self.size - number * self.grain);
        let mut bytes = vec![0; index(self.grain)];
        let mut decoder = Decompress::new(true);
        let result = decoder.decompress(&data, &mut bytes, FlushDecompress::Finish);
        if result.is_err() || decoder.total_out() < wanted {
            return Err(DiskError::damaged(format!("the grain at byte {at} cannot be decompressed")));
        }
        bytes.truncate(index(decoder.total_out()));
        Ok(bytes)
    }
}

impl Blocks for SparseExtent {
    fn disk_size(&self) -> u64 {
        self.size
    }

    fn block_size(&self) -> u64 {
        self.grain
    }

    fn place(&self, block: u64) -> Result<(Place, u64), DiskError> {
        let per_table = self.entries_per_table;
        let Some(table) = self.table(block / per_table)? else {
            return Ok((Place::Zero, per_table - block % per_table));
        };
        let zero = self.entry(table, block % per_table)?.is_none();
        Ok((if zero { Place::Zero } else { Place::Own }, 1))
    }
}

impl DiskReader for SparseExtent {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), DiskError> {
        check_range(self.size, offset, buffer.len())?;
        for_each_block(self.grain, offset, buffer, |number, inside, part| self.read_grain(number, inside, part))
    }

    fn next_data(&self, offset: u64) -> Result<Option<Range<u64>>, DiskError> {
        blocks::next_data(self, offset)
    }

    fn verify(&self, check_limits: &dyn Fn() -> Result<(), DiskError>) -> Result<(), DiskError> {
        let length = self.source.size();
        let mut used = if length <= MAX_CHECKED { Some(UnitSet::new(length, SECTOR)?) } else { None };
        let mut mark = |range: Range<u64>, what: &str| {
            require(&*self.source, range.start, range.end - range.start, what)?;
            used.as_mut().map_or(Ok(()), |used| used.mark(range, what))
        };
        mark(0..SECTOR, "the header")?;
        mark(self.directory..self.directory + self.table_count() * 4, "the grain directory")?;
        let grains = self.size.div_ceil(self.grain);
        for number in 0..self.table_count() {
            if number % blocks::LIMITS_INTERVAL == 0 {
                check_limits()?;
            }
            let Some(table) = self.table(number)? else { continue };
            check_limits()?;
            mark(table..table + self.entries_per_table * 4, "a grain table")?;
            let first = number * self.entries_per_table;
            for n in 0..self.entries_per_table.min(grains - first) {
                let Some(at) = self.entry(table, n)? else { continue };
                let data = if self.compressed {
                    12 + self.marker(first + n, at)?
                } else {
                    // Of the last grain, only what the disk needs has to be in the file.
                    self.grain.min(self.size - (first + n) * self.grain)
                };
                mark(at..at + data, "a grain")?;
            }
        }
        Ok(())
    }
}
