//! Generated golden VHDs for tests and demonstrations: real partition tables, random data.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use crate::Generation;
use crate::bytes::crc32;
use crate::formats::vhd::Footer;
use crate::partitions::{PartitionType, SECTOR, types};

/// The start of the first partition in bytes.
const FIRST: u64 = 1 << 20;

/// The minimum size in bytes: room for both copies of a GPT, two partitions and data.
const MIN_SIZE: u64 = 4 << 20;

/// Bytes at the start and at the end of the disk without data.
const MARGIN: u64 = 2 << 20;

/// The size of a GPT's table of partitions, in sectors: 128 entries of 128 bytes.
const TABLE_SECTORS: u64 = 32;

/// The description of a generated golden VHD.
#[derive(Debug, Clone)]
pub struct GoldenSpec {
    /// The disk's size in bytes, a whole number of MiB.
    pub size: u64,
    /// The generation that boots it.
    pub generation: Generation,
    /// The ranges of random data: offset and length in bytes, multiples of 512. The first and last 2 MiB stay free of
    /// it.
    pub extents: Vec<(u64, u64)>,
    /// The seed of the random data. The same seed gives the same data.
    pub seed: u64,
}

impl GoldenSpec {
    /// A disk with `data` bytes in `count` evenly distributed pieces.
    #[must_use]
    pub fn spread(size: u64, generation: Generation, data: u64, count: u64, seed: u64) -> Self {
        let room = size.saturating_sub(2 * MARGIN);
        let part = |bytes: u64| bytes.checked_div(count).unwrap_or(0) / SECTOR * SECTOR;
        let (length, step) = (part(data), part(room));
        let extents = (0..count).map(|n| (MARGIN + n * step, length.min(step))).collect();
        Self { size, generation, extents, seed }
    }

    /// Writes the VHD as a sparse file.
    ///
    /// # Errors
    /// `InvalidInput` if the description contradicts itself; any other error if the file cannot be written.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        self.validate()?;
        let file = File::create(path)?;
        file.set_len(self.size + SECTOR)?;
        match self.generation {
            Generation::V1 => file.write_all_at(&mbr(0x80, 0x83, self.size), 0)?,
            Generation::V2 => self.write_gpt(&file)?,
        }
        let mut random = SplitMix64(self.seed);
        let mut buffer = vec![0; 1 << 20];
        for &(offset, length) in &self.extents {
            let mut at = offset;
            while at < offset + length {
                let part = usize::try_from(offset + length - at).unwrap_or(usize::MAX).min(buffer.len());
                random.fill(&mut buffer[..part]);
                file.write_all_at(&buffer[..part], at)?;
                at += part as u64;
            }
        }
        let id = u128::from(self.seed) << 64 | u128::from(self.size);
        file.write_all_at(&Footer::fixed_for(self.size, id).to_bytes(), self.size)
    }

    fn validate(&self) -> io::Result<()> {
        let refuse = |reason: String| Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
        if self.size < MIN_SIZE || !self.size.is_multiple_of(1 << 20) {
            return refuse(format!("a disk of {} bytes: make it a whole number of MiB, at least 4", self.size));
        }
        let fits = |&(offset, length): &(u64, u64)| {
            let whole = offset.is_multiple_of(SECTOR) && length.is_multiple_of(SECTOR);
            let end = offset.checked_add(length);
            whole && offset >= MARGIN && end.is_some_and(|end| end <= self.size - MARGIN)
        };
        match self.extents.iter().find(|extent| !fits(extent)) {
            Some((offset, length)) => refuse(format!(
                "data of {length} bytes at {offset} is not inside the partitions or not of whole sectors"
            )),
            None => Ok(()),
        }
    }

    fn write_gpt(&self, file: &File) -> io::Result<()> {
        let sectors = self.size / SECTOR;
        let last_usable = sectors - TABLE_SECTORS - 2;
        let esp_end = (FIRST + (16 << 20).min(self.size / 4)) / SECTOR;
        let mut table = vec![0; 128 * 128];
        entry(&mut table[..128], types::ESP, 1, FIRST / SECTOR, esp_end - 1);
        entry(&mut table[128..256], types::LINUX, 2, esp_end, last_usable);
        let header = |own: u64, other: u64, entries: u64| gpt_header(own, other, entries, last_usable, &table);
        file.write_all_at(&mbr(0, 0xee, self.size), 0)?;
        file.write_all_at(&header(1, sectors - 1, 2), SECTOR)?;
        file.write_all_at(&table, 2 * SECTOR)?;
        file.write_all_at(&table, (sectors - 1 - TABLE_SECTORS) * SECTOR)?;
        file.write_all_at(&header(sectors - 1, 1, sectors - 1 - TABLE_SECTORS), (sectors - 1) * SECTOR)
    }
}

/// A master boot record with one partition.
fn mbr(status: u8, kind: u8, size: u64) -> [u8; 512] {
    let mut mbr = [0; 512];
    let first = if kind == 0xee { 1 } else { FIRST / SECTOR };
    let count = size / SECTOR - first;
    let entry = &mut mbr[446..462];
    entry[0] = status;
    entry[4] = kind;
    entry[8..12].copy_from_slice(&u32::try_from(first).unwrap_or(1).to_le_bytes());
    entry[12..16].copy_from_slice(&u32::try_from(count).unwrap_or(u32::MAX).to_le_bytes());
    mbr[510..].copy_from_slice(&[0x55, 0xaa]);
    mbr
}

fn entry(bytes: &mut [u8], kind: PartitionType, id: u8, first: u64, last: u64) {
    if let PartitionType::Gpt(guid) = kind {
        bytes[..16].copy_from_slice(&guid);
    }
    bytes[16..32].fill(id);
    bytes[32..40].copy_from_slice(&first.to_le_bytes());
    bytes[40..48].copy_from_slice(&last.to_le_bytes());
}

fn gpt_header(own: u64, other: u64, entries: u64, last_usable: u64, table: &[u8]) -> [u8; 512] {
    let mut header = [0; 512];
    header[..8].copy_from_slice(b"EFI PART");
    header[8..12].copy_from_slice(&0x0001_0000_u32.to_le_bytes());
    header[12..16].copy_from_slice(&92_u32.to_le_bytes());
    header[24..32].copy_from_slice(&own.to_le_bytes());
    header[32..40].copy_from_slice(&other.to_le_bytes());
    header[40..48].copy_from_slice(&(TABLE_SECTORS + 2).to_le_bytes());
    header[48..56].copy_from_slice(&last_usable.to_le_bytes());
    header[56..72].fill(7);
    header[72..80].copy_from_slice(&entries.to_le_bytes());
    header[80..84].copy_from_slice(&128_u32.to_le_bytes());
    header[84..88].copy_from_slice(&128_u32.to_le_bytes());
    header[88..92].copy_from_slice(&crc32(table).to_le_bytes());
    let crc = crc32(&header[..92]);
    header[16..20].copy_from_slice(&crc.to_le_bytes());
    header
}

/// The SplitMix64 generator: fast, and the same on every platform.
struct SplitMix64(u64);

impl SplitMix64 {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn fill(&mut self, buffer: &mut [u8]) {
        for piece in buffer.chunks_mut(8) {
            let bytes = self.next().to_le_bytes();
            piece.copy_from_slice(&bytes[..piece.len()]);
        }
    }
}
