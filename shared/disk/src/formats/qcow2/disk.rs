//! The disk in a qcow2 image. Two levels of tables give the place of each cluster.

use std::ops::Range;
use std::sync::Arc;

use super::decompress::Decompressor;
use super::header::Header;
use crate::bitset::UnitSet;
use crate::blocks::{self, Blocks, Place};
use crate::bytes::index;
use crate::cache::TableCache;
use crate::reader::{check_range, read_part, require};
use crate::{DiskError, DiskReader};

/// Bits 9 to 55 of an entry: the offset of a table or cluster.
const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;
const COMPRESSED: u64 = 1 << 62;
const READS_AS_ZERO: u64 = 1;
const SUBCLUSTERS: u64 = 32;

/// A qcow2 image without backing file.
#[derive(Debug)]
pub(crate) struct Qcow2 {
    source: Arc<dyn DiskReader>,
    tables: TableCache,
    header: Header,
    decompressor: Decompressor,
}

/// Where a cluster is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cluster {
    Zero,
    Data(u64),
    /// The offset and the length of the compressed data.
    Compressed(u64, u64),
    /// The offset, and a bit for each subcluster that is allocated.
    Partial(u64, u32),
}

impl Qcow2 {
    pub(crate) fn open(source: Arc<dyn DiskReader>) -> Result<Self, DiskError> {
        let header = Header::read(&*source)?;
        require(&*source, header.l1_offset, header.l1_entries * 8, "the first table")?;
        Ok(Self {
            // An image with small clusters has many small tables far from each other.
            tables: TableCache::new(Arc::clone(&source), header.cluster_size()),
            decompressor: Decompressor::new(header.compression, index(header.cluster_size())),
            source,
            header,
        })
    }

    /// The offset of a second level table; `None` if none of its clusters is allocated.
    fn table(&self, number: u64) -> Result<Option<u64>, DiskError> {
        let entry = self.tables.be64(self.header.l1_offset + number * 8, "the first table")?;
        let offset = entry & OFFSET;
        if !offset.is_multiple_of(self.header.cluster_size()) {
            return Err(DiskError::damaged(format!("a table at byte {offset} does not begin at a cluster")));
        }
        Ok((offset != 0).then_some(offset))
    }

    fn cluster(&self, number: u64) -> Result<Cluster, DiskError> {
        let per_table = self.header.l2_entries();
        match self.table(number / per_table)? {
            Some(table) => self.entry(table, number % per_table),
            None => Ok(Cluster::Zero),
        }
    }

    /// An entry of a second level table.
    fn entry(&self, table: u64, number: u64) -> Result<Cluster, DiskError> {
        let at = table + number * self.header.entry_size();
        let entry = self.tables.be64(at, "a table of clusters")?;
        if entry & COMPRESSED != 0 {
            // The lower bits are the offset in bytes. The upper bits are the number of sectors after the one in which
            // the data begins.
            let bits = 62 - (self.header.cluster_bits - 8);
            let offset = entry & ((1 << bits) - 1);
            let sectors = (entry & (COMPRESSED - 1)) >> bits;
            return Ok(Cluster::Compressed(offset, (sectors + 1) * 512 - offset % 512));
        }
        let offset = entry & OFFSET;
        if !offset.is_multiple_of(self.header.cluster_size()) {
            return Err(DiskError::damaged(format!("a cluster at byte {offset} is not aligned")));
        }
        if self.header.extended {
            let bitmap = self.tables.be64(at + 8, "a table of clusters")?;
            let [_, _, _, _, a, b, c, d] = bitmap.to_be_bytes();
            let allocated = u32::from_be_bytes([a, b, c, d]);
            return Ok(match allocated {
                0 => Cluster::Zero,
                _ if offset == 0 => return Err(DiskError::damaged("a cluster with allocated parts has no place")),
                u32::MAX => Cluster::Data(offset),
                _ => Cluster::Partial(offset, allocated),
            });
        }
        let zero = self.header.version >= 3 && entry & READS_AS_ZERO != 0;
        Ok(if zero || offset == 0 { Cluster::Zero } else { Cluster::Data(offset) })
    }

    fn read_data(&self, offset: u64, part: &mut [u8]) -> Result<(), DiskError> {
        require(&*self.source, offset, part.len() as u64, "a cluster")?;
        self.source.read_at(offset, part)
    }

    fn read_compressed(&self, offset: u64, length: u64, inside: u64, part: &mut [u8]) -> Result<(), DiskError> {
        self.decompressor.read(offset, index(inside), part, || {
            require(&*self.source, offset, 1, "a compressed cluster")?;
            // The length is a number of sectors, and the file may end inside the last one.
            let length = length.min(self.source.size() - offset);
            read_part(&*self.source, offset, index(length), "a compressed cluster")
        })
    }

    fn read_partial(&self, offset: u64, allocated: u32, inside: u64, part: &mut [u8]) -> Result<(), DiskError> {
        let size = self.header.cluster_size() / SUBCLUSTERS;
        blocks::for_each_block(size, inside, part, |number, within, piece| {
            if allocated >> number & 1 != 0 {
                return self.read_data(offset + number * size + within, piece);
            }
            piece.fill(0);
            Ok(())
        })
    }
}

impl Blocks for Qcow2 {
    fn disk_size(&self) -> u64 {
        self.header.size
    }

    fn block_size(&self) -> u64 {
        self.header.cluster_size()
    }

    fn place(&self, block: u64) -> Result<(Place, u64), DiskError> {
        let per_table = self.header.l2_entries();
        let Some(table) = self.table(block / per_table)? else {
            return Ok((Place::Zero, per_table - block % per_table));
        };
        let zero = self.entry(table, block % per_table)? == Cluster::Zero;
        Ok((if zero { Place::Zero } else { Place::Own }, 1))
    }
}

impl DiskReader for Qcow2 {
    fn size(&self) -> u64 {
        self.header.size
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), DiskError> {
        check_range(self.size(), offset, buffer.len())?;
        let cluster_size = self.header.cluster_size();
        let (mut at, mut rest) = (offset, buffer);
        while !rest.is_empty() {
            let (number, inside) = (at / cluster_size, at % cluster_size);
            let mut length = index(cluster_size - inside).min(rest.len());
            let cluster = self.cluster(number)?;
            if let Cluster::Data(place) = cluster {
                // Clusters that are adjacent in the file are read at once.
                let mut next = 1;
                while length < rest.len() && self.cluster(number + next)? == Cluster::Data(place + next * cluster_size)
                {
                    length = (length + index(cluster_size)).min(rest.len());
                    next += 1;
                }
            }
            let (part, others) = rest.split_at_mut(length);
            match cluster {
                Cluster::Zero => part.fill(0),
                Cluster::Data(place) => self.read_data(place + inside, part)?,
                Cluster::Compressed(place, length) => self.read_compressed(place, length, inside, part)?,
                Cluster::Partial(place, allocated) => self.read_partial(place, allocated, inside, part)?,
            }
            at += length as u64;
            rest = others;
        }
        Ok(())
    }

    fn next_data(&self, offset: u64) -> Result<Option<Range<u64>>, DiskError> {
        blocks::next_data(self, offset)
    }

    fn verify(&self, check_limits: &dyn Fn() -> Result<(), DiskError>) -> Result<(), DiskError> {
        let (size, per_table) = (self.header.cluster_size(), self.header.l2_entries());
        let length = self.source.size();
        let mut used = UnitSet::new(length, size)?;
        used.mark(0..1, "the header")?;
        used.mark(self.header.l1_offset..self.header.l1_offset + self.header.l1_entries * 8, "the first table")?;
        let count = self.header.size.div_ceil(size);
        for number in 0..self.header.l1_entries {
            if number % blocks::LIMITS_INTERVAL == 0 {
                check_limits()?;
            }
            let Some(table) = self.table(number)? else { continue };
            check_limits()?;
            require(&*self.source, table, per_table * self.header.entry_size(), "a table of clusters")?;
            used.mark(table..table + size, "a table of clusters")?;
            let first = number * per_table;
            for n in 0..per_table.min(count - first) {
                // Of the last cluster, only what the disk needs has to be in the file.
                let needed = size.min(self.header.size - (first + n) * size);
                match self.entry(table, n)? {
                    Cluster::Zero => {}
                    Cluster::Compressed(offset, _) => require(&*self.source, offset, 1, "a compressed cluster")?,
                    Cluster::Data(offset) => {
                        require(&*self.source, offset, needed, "a cluster")?;
                        used.mark(offset..offset + size, "a cluster")?;
                    }
                    Cluster::Partial(offset, allocated) => {
                        let parts = u64::from(u32::BITS - allocated.leading_zeros());
                        require(&*self.source, offset, needed.min(parts * (size / SUBCLUSTERS)), "a cluster")?;
                        used.mark(offset..offset + size, "a cluster")?;
                    }
                }
            }
        }
        Ok(())
    }
}
