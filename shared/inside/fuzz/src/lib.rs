//! What the fuzz targets share.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use goldfleet_disk::{DiskError, DiskReader};
use goldfleet_inside::budget::{Budget, Limits};
use goldfleet_inside::fs::{FileKind, FileSystem};
use goldfleet_inside::window::Windowed;

/// The most files of one file system that are read.
const MAX_FILES: usize = 200;
/// The most bytes of one file that are read.
const MAX_BYTES: u64 = 1 << 20;
/// Bytes of a block of a [`SparseDisk`].
const BLOCK: usize = 4096;

/// A disk whose blocks are zero unless they are listed. `pack.py` writes this form, so that a file system of hundreds
/// of MiB is an input of a few hundred KiB.
///
/// The number of blocks, then for each listed block its number and its 4,096 bytes. Numbers have 32 bits,
/// little-endian. Of two blocks with the same number the last one counts; an incomplete last block is filled with
/// zeros.
#[derive(Debug)]
pub struct SparseDisk {
    size: u64,
    blocks: BTreeMap<u64, Vec<u8>>,
}

impl SparseDisk {
    /// The disk of an input.
    #[must_use]
    pub fn new(data: &[u8]) -> Self {
        let number = |bytes: &[u8]| bytes.first_chunk().map(|first| u64::from(u32::from_le_bytes(*first)));
        let Some(count) = number(data) else { return Self { size: 0, blocks: BTreeMap::new() } };
        let mut blocks = BTreeMap::new();
        for record in data[4..].chunks(4 + BLOCK) {
            if let Some(index) = number(record).filter(|index| *index < count) {
                let mut bytes = record[4..].to_vec();
                bytes.resize(BLOCK, 0);
                blocks.insert(index, bytes);
            }
        }
        Self { size: count * BLOCK as u64, blocks }
    }

    fn bytes(&self, start: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        if self.read_at(start, &mut bytes).is_err() {
            bytes.fill(0);
        }
        bytes
    }

    /// Repairs the fix-ups of NTFS: the last two bytes of each sector of a record become what the record's header
    /// states.
    #[must_use]
    pub fn seal_ntfs(mut self) -> Self {
        self.blocks.values_mut().for_each(|block| seal_records(block));
        self
    }

    /// Recomputes the checksums of btrfs: of the superblock, and of every node that has the identifier of the file
    /// system.
    #[must_use]
    pub fn seal_btrfs(mut self) -> Self {
        const SUPERBLOCK: u64 = 16;
        let Some(superblock) = self.blocks.get_mut(&SUPERBLOCK) else { return self };
        seal_crc32c(superblock);
        let id = superblock[32..48].to_vec();
        let node = u32::from_le_bytes([superblock[0x94], superblock[0x95], superblock[0x96], superblock[0x97]]);
        let Some(node) = usize::try_from(node).ok().filter(|n| n.is_power_of_two() && (BLOCK..=64 << 10).contains(n))
        else {
            return self;
        };
        let starts: Vec<u64> = self.blocks.keys().copied().filter(|index| *index != SUPERBLOCK).collect();
        for index in starts {
            let start = index * BLOCK as u64;
            if self.blocks[&index][32..48] == id && start % node as u64 == 0 {
                let mut bytes = self.bytes(start, node);
                seal_crc32c(&mut bytes);
                self.blocks.entry(index).and_modify(|block| block[..32].copy_from_slice(&bytes[..32]));
            }
        }
        self
    }

    /// The disk behind the cache of an inspection, and the inspection's limits.
    #[must_use]
    pub fn windowed(self) -> (Arc<dyn DiskReader>, Arc<Budget>) {
        let budget = Arc::new(Budget::new(Limits::default()));
        (Arc::new(Windowed::new(Arc::new(self), Arc::clone(&budget))), budget)
    }
}

impl DiskReader for SparseDisk {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), DiskError> {
        let (length, size) = (buffer.len() as u64, self.size);
        let Some(end) = offset.checked_add(length).filter(|end| *end <= size) else {
            return Err(DiskError::OutOfRange { offset, length, size });
        };
        buffer.fill(0);
        for (index, block) in self.blocks.range(offset / BLOCK as u64..end.div_ceil(BLOCK as u64)) {
            let start = index * BLOCK as u64;
            let (from, to) = (start.max(offset), (start + BLOCK as u64).min(end));
            let source = &block[(from - start) as usize..(to - start) as usize];
            buffer[(from - offset) as usize..(to - offset) as usize].copy_from_slice(source);
        }
        Ok(())
    }

    fn next_data(&self, offset: u64) -> Result<Option<Range<u64>>, DiskError> {
        let next = self.blocks.range(offset / BLOCK as u64..).next();
        Ok(next.map(|(index, _)| {
            let start = index * BLOCK as u64;
            start.max(offset)..start + BLOCK as u64
        }))
    }
}

/// Writes the CRC-32C of everything behind the first 32 bytes into these.
fn seal_crc32c(bytes: &mut [u8]) {
    let sum = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, &bytes[32..]) as u32;
    bytes[..32].fill(0);
    bytes[..4].copy_from_slice(&sum.to_le_bytes());
}

fn seal_records(bytes: &mut [u8]) {
    const SECTOR: usize = 512;
    for start in (0..bytes.len()).step_by(SECTOR) {
        let record = &mut bytes[start..];
        if !record.starts_with(b"FILE") && !record.starts_with(b"INDX") {
            continue;
        }
        let at = usize::from(u16::from_le_bytes([record[4], record[5]]));
        let sectors = usize::from(u16::from_le_bytes([record[6], record[7]])).saturating_sub(1);
        if at + 2 > SECTOR || sectors > 128 || record.len() < sectors * SECTOR {
            continue;
        }
        let number = [record[at], record[at + 1]];
        for sector in record.chunks_exact_mut(SECTOR).take(sectors) {
            sector[SECTOR - 2..].copy_from_slice(&number);
        }
    }
}

/// Recomputes the checksum of a hive's header.
pub fn seal_hive(bytes: &mut [u8]) {
    if bytes.len() < 512 {
        return;
    }
    let words = bytes[..508].chunks_exact(4).map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]]));
    let sum = match words.fold(0, |sum, word| sum ^ word) {
        0 => 1,
        u32::MAX => u32::MAX - 1,
        sum => sum,
    };
    bytes[508..512].copy_from_slice(&sum.to_le_bytes());
}

/// Reads what can be read of a file system.
pub fn read(fs: &dyn FileSystem) {
    read_folder(fs, "/", 8, &mut MAX_FILES.clone());
}

fn read_folder(fs: &dyn FileSystem, folder: &str, depth: usize, files: &mut usize) {
    for entry in fs.list(folder).unwrap_or_default() {
        let Some(left) = files.checked_sub(1) else { return };
        *files = left;
        let path = format!("{}/{}", folder.trim_end_matches('/'), entry.name);
        let _ = (fs.stat(&path), fs.link(&path));
        if let Ok(mut file) = fs.open(&path) {
            let mut buffer = vec![0; 64 << 10];
            let mut offset = 0;
            while let Ok(count @ 1..) = file.read_at(offset, &mut buffer) {
                offset += count as u64;
                if offset > MAX_BYTES {
                    break;
                }
            }
        }
        if entry.kind == FileKind::Directory && depth > 0 {
            read_folder(fs, &path, depth - 1, files);
        }
    }
}
