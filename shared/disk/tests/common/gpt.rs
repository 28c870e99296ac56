//! Partition tables.

use goldfleet_disk::{PartitionType, types};

use super::sums::crc32;

pub const ESP: PartitionType = types::ESP;
pub const LINUX: PartitionType = types::LINUX;
pub const BIOS: PartitionType = types::BIOS_BOOT;

/// A disk of which only some pieces are not zero.
#[derive(Debug, Clone)]
pub struct Pieces {
    pub size: u64,
    pub pieces: Vec<(u64, Vec<u8>)>,
}

impl Pieces {
    pub fn new(size: u64) -> Self {
        Self { size, pieces: Vec::new() }
    }

    pub fn put(&mut self, at: u64, bytes: impl Into<Vec<u8>>) -> &mut Self {
        self.pieces.push((at, bytes.into()));
        self
    }

    /// Writes the disk as a sparse file of `length` bytes, with a footer behind it.
    pub fn write(&self, path: &std::path::Path, footer: Option<&[u8]>) {
        use std::os::unix::fs::FileExt as _;
        let file = std::fs::File::create(path).unwrap();
        file.set_len(self.size).unwrap();
        for (at, bytes) in &self.pieces {
            file.write_all_at(bytes, *at).unwrap();
        }
        file.write_all_at(footer.unwrap_or_default(), self.size).unwrap();
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(self.size).unwrap()];
        for (at, piece) in &self.pieces {
            bytes[usize::try_from(*at).unwrap()..][..piece.len()].copy_from_slice(piece);
        }
        bytes
    }
}

/// A master boot record: active flag, type, first sector and count of each partition.
pub fn mbr(parts: &[(u8, u8, u32, u32)]) -> Vec<u8> {
    let mut sector = vec![0; 512];
    for (n, (active, kind, first, count)) in parts.iter().enumerate() {
        let entry = &mut sector[446 + 16 * n..][..16];
        entry[0] = *active;
        entry[4] = *kind;
        entry[8..12].copy_from_slice(&first.to_le_bytes());
        entry[12..16].copy_from_slice(&count.to_le_bytes());
    }
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    sector
}

/// How a GPT is written. Sizes and positions are in its sectors.
#[derive(Debug, Clone)]
pub struct Gpt {
    pub sector: u64,
    pub entries: usize,
    pub backup_at: Option<u64>,
    pub last_usable: Option<u64>,
    pub backup: bool,
    pub protective: Option<Vec<u8>>,
    pub attributes: u64,
}

impl Default for Gpt {
    fn default() -> Self {
        Self {
            sector: 512,
            entries: 128,
            backup_at: None,
            last_usable: None,
            backup: true,
            protective: None,
            attributes: 0,
        }
    }
}

impl Gpt {
    /// Writes both copies of the table: type, first and last sector of each partition.
    pub fn write(&self, disk: &mut Pieces, parts: &[(PartitionType, u64, u64)]) {
        let total = disk.size / self.sector;
        let mut table = vec![0; self.entries * 128];
        for (n, (kind, first, last)) in parts.iter().enumerate() {
            let PartitionType::Gpt(guid) = kind else { panic!("not a type of a GPT: {kind:?}") };
            let entry = &mut table[128 * n..][..128];
            entry[..16].copy_from_slice(guid);
            entry[16..32].fill(u8::try_from(n).unwrap() + 1);
            entry[32..40].copy_from_slice(&first.to_le_bytes());
            entry[40..48].copy_from_slice(&last.to_le_bytes());
            entry[48..56].copy_from_slice(&self.attributes.to_le_bytes());
            entry[56] = b'p';
            entry[58] = b'0' + u8::try_from(n).unwrap();
        }
        let table_sectors = (table.len() as u64).div_ceil(self.sector);
        let backup = self.backup_at.unwrap_or(total - 1);
        let last_usable = self.last_usable.unwrap_or(backup - table_sectors - 1);
        let header = |own: u64, other: u64, entries: u64| self.header(own, other, entries, last_usable, &table);
        let protective = u32::try_from(total - 1).unwrap_or(u32::MAX);
        disk.put(0, self.protective.clone().unwrap_or_else(|| mbr(&[(0, 0xee, 1, protective)])));
        disk.put(self.sector, header(1, backup, 2));
        disk.put(2 * self.sector, table.clone());
        if self.backup {
            disk.put((backup - table_sectors) * self.sector, table.clone());
            disk.put(backup * self.sector, header(backup, 1, backup - table_sectors));
        }
    }

    fn header(&self, own: u64, other: u64, entries: u64, last_usable: u64, table: &[u8]) -> Vec<u8> {
        let mut header = vec![0; usize::try_from(self.sector).unwrap()];
        header[..8].copy_from_slice(b"EFI PART");
        header[8..12].copy_from_slice(&0x0001_0000_u32.to_le_bytes());
        header[12..16].copy_from_slice(&92_u32.to_le_bytes());
        let first_usable = 2 + (table.len() as u64).div_ceil(self.sector);
        for (at, number) in [(24, own), (32, other), (40, first_usable), (48, last_usable), (72, entries)] {
            header[at..at + 8].copy_from_slice(&number.to_le_bytes());
        }
        header[56..72].copy_from_slice(b"the disk's  GUID");
        header[80..84].copy_from_slice(&u32::try_from(self.entries).unwrap().to_le_bytes());
        header[84..88].copy_from_slice(&128_u32.to_le_bytes());
        header[88..92].copy_from_slice(&crc32(table).to_le_bytes());
        let crc = crc32(&header[..92]);
        header[16..20].copy_from_slice(&crc.to_le_bytes());
        header
    }
}

/// A disk that boots by UEFI, with data here and there and at its end.
pub fn os_disk(size: u64) -> Pieces {
    let mut disk = Pieces::new(size);
    let last = size / 512;
    Gpt::default().write(&mut disk, &[(ESP, 2048, 4095), (LINUX, 4096, last - 2048)]);
    let mut rng = super::Rng(size);
    for (at, length) in
        [(1 << 20, 700 << 10), ((5 << 20) + 4096, 70 << 10), (size / 2, 1536), (size - (2 << 20), 512 << 10)]
    {
        let mut bytes = vec![0; length];
        rng.fill(&mut bytes);
        disk.put(at, bytes);
    }
    disk
}
