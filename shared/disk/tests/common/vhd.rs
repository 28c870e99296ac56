//! VHDs by the specification 1.0, as many programs write them.

use super::Rng;
use super::sums::checksum;

/// The fields of a footer that differ between writers.
#[derive(Debug, Clone)]
pub struct FooterSpec {
    pub size: u64,
    pub kind: u32,
    pub data_offset: u64,
    pub creator: [u8; 4],
    pub host: [u8; 4],
    pub creator_version: u32,
    pub features: u32,
    pub version: u32,
    pub stamp: u32,
    pub original: u64,
    pub geometry: Option<[u8; 4]>,
    pub id: [u8; 16],
    pub saved: u8,
    pub reserved: u8,
    pub checksum: Option<u32>,
}

impl FooterSpec {
    pub fn fixed(size: u64) -> Self {
        Self {
            size,
            kind: 2,
            data_offset: u64::MAX,
            creator: *b"win ",
            host: *b"Wi2k",
            creator_version: 0x0006_0001,
            features: 2,
            version: 0x0001_0000,
            stamp: 0x2a00_0000,
            original: size,
            geometry: None,
            id: [7; 16],
            saved: 0,
            reserved: 0,
            checksum: None,
        }
    }

    pub fn bytes(&self) -> [u8; 512] {
        let mut footer = [self.reserved; 512];
        footer[..8].copy_from_slice(b"conectix");
        for (at, number) in
            [(8, self.features), (12, self.version), (24, self.stamp), (32, self.creator_version), (60, self.kind)]
        {
            footer[at..at + 4].copy_from_slice(&number.to_be_bytes());
        }
        footer[16..24].copy_from_slice(&self.data_offset.to_be_bytes());
        footer[28..32].copy_from_slice(&self.creator);
        footer[36..40].copy_from_slice(&self.host);
        footer[40..48].copy_from_slice(&self.original.to_be_bytes());
        footer[48..56].copy_from_slice(&self.size.to_be_bytes());
        footer[56..60].copy_from_slice(&self.geometry.unwrap_or_else(|| geometry(self.size)));
        footer[68..84].copy_from_slice(&self.id);
        footer[84] = self.saved;
        let sum = self.checksum.unwrap_or_else(|| checksum(&footer, 64));
        footer[64..68].copy_from_slice(&sum.to_be_bytes());
        footer
    }
}

/// Cylinders, heads and sectors by the appendix of the specification.
pub fn geometry(size: u64) -> [u8; 4] {
    let sectors = (size / 512).min(65535 * 16 * 255);
    let (per_track, heads, tracks) = if sectors >= 65535 * 16 * 63 {
        (255, 16, sectors / 255)
    } else {
        let heads = (sectors / 17).div_ceil(1024).max(4);
        if heads <= 16 && sectors / 17 < heads * 1024 {
            (17, heads, sectors / 17)
        } else if sectors / 31 < 16 * 1024 {
            (31, 16, sectors / 31)
        } else {
            (63, 16, sectors / 63)
        }
    };
    let [high, low] = u16::try_from(tracks / heads).unwrap().to_be_bytes();
    [high, low, u8::try_from(heads).unwrap(), per_track]
}

/// How a dynamic or differencing disk is laid out.
#[derive(Debug, Clone)]
pub struct Dynamic {
    pub block_size: usize,
    pub shuffled: bool,
    /// Bytes between blocks, a multiple of 512.
    pub gap: usize,
    pub header_at: usize,
    pub all_blocks: bool,
    /// Whether the last block ends with the disk.
    pub short_last: bool,
    /// Entries of the table beyond those that the disk needs.
    pub spare_entries: usize,
    pub id: [u8; 16],
    /// The parent's id and content.
    pub parent: Option<([u8; 16], Vec<u8>)>,
}

impl Dynamic {
    pub fn random(rng: &mut Rng) -> Self {
        Self {
            block_size: rng.pick(&[4 << 10, 16 << 10, 512 << 10, 2 << 20]),
            shuffled: rng.chance(60),
            gap: rng.below(3) * 512,
            header_at: rng.pick(&[512, 512, 1024, 4096]),
            all_blocks: rng.chance(15),
            short_last: rng.chance(20),
            spare_entries: rng.below(5),
            id: [9; 16],
            parent: None,
        }
    }

    /// The file of a disk. Sectors that are zero (or the parent's) are sometimes left out of the bitmap, and then the
    /// file holds other bytes in their place.
    pub fn write(&self, content: &[u8], rng: &mut Rng) -> Vec<u8> {
        let (size, block) = (content.len(), self.block_size);
        let count = size.div_ceil(block);
        let entries = count + self.spare_entries;
        let parent = self.parent.as_ref().map(|(_, parent)| parent.as_slice());
        let mut spec = FooterSpec::fixed(size as u64);
        spec.kind = if parent.is_some() { 4 } else { 3 };
        spec.data_offset = self.header_at as u64;
        spec.id = self.id;
        let footer = spec.bytes();
        let table_at = self.header_at + 1024;
        let mut file = vec![0; table_at];
        file[..512].copy_from_slice(&footer);
        file[self.header_at..].copy_from_slice(&self.header(table_at, entries));
        let mut table = vec![u32::MAX; entries];
        file.resize((table_at + entries * 4).next_multiple_of(512), 0xff);
        let mut order: Vec<usize> = (0..count).collect();
        if self.shuffled {
            rng.shuffle(&mut order);
        }
        for n in order {
            let data = &content[n * block..((n + 1) * block).min(size)];
            let below = |at: usize| parent.and_then(|parent| parent.get(at)).copied().unwrap_or(0);
            let differs = (0..data.len()).any(|at| data[at] != below(n * block + at));
            if !differs && !self.all_blocks {
                continue;
            }
            file.resize(file.len() + self.gap, 0);
            table[n] = u32::try_from(file.len() / 512).unwrap();
            self.push_block(&mut file, data, n * block, &below, rng);
            file.resize(file.len().next_multiple_of(512), 0);
        }
        for (n, entry) in table.iter().enumerate() {
            file[table_at + 4 * n..][..4].copy_from_slice(&entry.to_be_bytes());
        }
        file.extend_from_slice(&footer);
        file
    }

    fn push_block(&self, file: &mut Vec<u8>, data: &[u8], at: usize, below: &dyn Fn(usize) -> u8, rng: &mut Rng) {
        let sectors = self.block_size / 512;
        let mut bitmap = vec![0_u8; sectors.div_ceil(8).next_multiple_of(512)];
        let mut stored = data.to_vec();
        stored.resize(self.block_size, 0);
        for sector in 0..sectors {
            let range = sector * 512..((sector + 1) * 512).min(data.len().max(sector * 512));
            let same = range.clone().all(|n| data.get(n).copied().unwrap_or(0) == below(at + n));
            if same && rng.chance(50) {
                rng.fill(&mut stored[sector * 512..(sector + 1) * 512]);
            } else {
                bitmap[sector / 8] |= 0x80 >> (sector % 8);
            }
        }
        if self.short_last {
            stored.truncate(data.len());
        }
        file.extend_from_slice(&bitmap);
        file.extend_from_slice(&stored);
    }

    fn header(&self, table_at: usize, entries: usize) -> [u8; 1024] {
        let mut header = [0; 1024];
        header[..8].copy_from_slice(b"cxsparse");
        header[8..16].fill(0xff);
        header[16..24].copy_from_slice(&(table_at as u64).to_be_bytes());
        header[24..28].copy_from_slice(&0x0001_0000_u32.to_be_bytes());
        header[28..32].copy_from_slice(&u32::try_from(entries).unwrap().to_be_bytes());
        header[32..36].copy_from_slice(&u32::try_from(self.block_size).unwrap().to_be_bytes());
        if let Some((id, _)) = &self.parent {
            header[40..56].copy_from_slice(id);
        }
        let sum = checksum(&header, 36);
        header[36..40].copy_from_slice(&sum.to_be_bytes());
        header
    }
}
