//! VHDX files by [MS-VHDX], with the features that `qemu-img` does not write: logs, parents, sector bitmaps, states of
//! blocks.

use super::sums::seal;
use super::{KIB, MIB, Rng, log};

/// How a VHDX is laid out.
#[derive(Debug, Clone)]
pub struct Vhdx {
    pub block_size: usize,
    pub sector: usize,
    pub shuffled: bool,
    /// Whether the log holds changes of the block table that were not written to their place.
    pub log: bool,
    /// Where in the log region the entries begin, in bytes. Without it, a random sector.
    pub log_begins_at: Option<usize>,
    /// Whether the first of the headers (or region tables) is invalid.
    pub first_header_invalid: bool,
    pub first_region_table_invalid: bool,
    /// The data write GUID as on disk.
    pub id: [u8; 16],
    /// The parent's linkage as text, and its content.
    pub parent: Option<(String, Vec<u8>)>,
}

impl Vhdx {
    pub fn random(rng: &mut Rng) -> Self {
        Self {
            block_size: rng.pick(&[1, 1, 2, 4]) * MIB,
            sector: rng.pick(&[512, 512, 4096]),
            shuffled: rng.chance(60),
            log: rng.chance(50),
            log_begins_at: None,
            first_header_invalid: rng.chance(30),
            first_region_table_invalid: rng.chance(30),
            id: *b"\x01\x02\x03\x04\x05\x06\x07\x08datawrit",
            parent: None,
        }
    }

    /// The text form of the data write GUID above.
    pub fn id_text(&self) -> String {
        let [a, b, c, d, e, f, g, h, rest @ ..] = self.id;
        let rest: Vec<String> = rest.iter().map(|byte| format!("{byte:02x}")).collect();
        let (x, y) = (rest[..2].concat(), rest[2..].concat());
        format!("{d:02x}{c:02x}{b:02x}{a:02x}-{f:02x}{e:02x}-{h:02x}{g:02x}-{x}-{y}")
    }

    fn chunk_ratio(&self) -> usize {
        (8 * MIB) * self.sector / self.block_size
    }

    /// The file of a disk whose size is a multiple of the sector size.
    pub fn write(&self, content: &[u8], rng: &mut Rng) -> Vec<u8> {
        const LOG_AT: usize = MIB;
        const METADATA_AT: usize = 2 * MIB;
        const BAT_AT: usize = 3 * MIB;
        let mut file = vec![0; 4 * MIB];
        file[..8].copy_from_slice(b"vhdxfile");
        self.metadata(&mut file[METADATA_AT..METADATA_AT + MIB], content.len());
        let bat = self.blocks(&mut file, content, rng);
        file[BAT_AT..BAT_AT + bat.len()].copy_from_slice(&bat);
        for at in [192 * KIB, 256 * KIB] {
            region_table(&mut file[at..at + 64 * KIB], METADATA_AT, BAT_AT);
        }
        let log_guid = if self.log { [5; 16] } else { [0; 16] };
        if self.log {
            let final_size = file.len() as u64;
            let region = (BAT_AT, (BAT_AT + bat.len()).next_multiple_of(4 * KIB));
            let writes = log::postpone(&mut file, region, rng);
            let log = log::write(MIB, self.log_begins_at, log_guid, &writes, final_size, rng);
            file[LOG_AT..LOG_AT + MIB].copy_from_slice(&log);
        }
        for (at, sequence) in [(64 * KIB, 7_u64), (128 * KIB, 8)] {
            self.header(&mut file[at..at + 4 * KIB], sequence, log_guid, LOG_AT);
        }
        if rng.chance(50) {
            // The newer header may be the first one.
            let (first, second) = file.split_at_mut(128 * KIB);
            first[64 * KIB..][..4 * KIB].swap_with_slice(&mut second[..4 * KIB]);
        }
        if self.first_header_invalid {
            // With equal content, whichever is left counts.
            let newest = file[64 * KIB..68 * KIB].to_vec();
            file[128 * KIB..132 * KIB].copy_from_slice(&newest);
            file[64 * KIB + 100] ^= 1;
        }
        if self.first_region_table_invalid {
            file[192 * KIB + 20] ^= 1;
        }
        file
    }

    fn header(&self, header: &mut [u8], sequence: u64, log_guid: [u8; 16], log_at: usize) {
        header[..4].copy_from_slice(b"head");
        header[8..16].copy_from_slice(&sequence.to_le_bytes());
        header[16..32].fill(3);
        header[32..48].copy_from_slice(&self.id);
        header[48..64].copy_from_slice(&log_guid);
        header[66..68].copy_from_slice(&1_u16.to_le_bytes());
        header[68..72].copy_from_slice(&u32::try_from(MIB).unwrap().to_le_bytes());
        header[72..80].copy_from_slice(&(log_at as u64).to_le_bytes());
        seal(header);
    }

    fn metadata(&self, region: &mut [u8], size: usize) {
        let flags = if self.parent.is_some() { 2_u32 } else { 0 };
        let number = |number: usize| u32::try_from(number).unwrap().to_le_bytes().to_vec();
        let mut items = vec![
            (
                guid("caa16737-fa36-4d43-b3b6-33f0aa44e76b"),
                [number(self.block_size), flags.to_le_bytes().to_vec()].concat(),
            ),
            (guid("2fa54224-cd1b-4876-b211-5dbed83bf4b8"), (size as u64).to_le_bytes().to_vec()),
            (guid("beca12ab-b2e6-4523-93ef-c309e000c746"), vec![4; 16]),
            (guid("8141bf1d-a96f-4709-ba47-f233a8faab5f"), number(self.sector)),
            (guid("cda348c7-445d-4471-9cc9-e9885251c556"), number(4096)),
        ];
        if let Some((linkage, _)) = &self.parent {
            items.push((guid("a8d35f2d-b30b-454d-abf7-d3d84834ab0c"), locator(linkage)));
        }
        region[..8].copy_from_slice(b"metadata");
        region[10..12].copy_from_slice(&u16::try_from(items.len()).unwrap().to_le_bytes());
        let mut at = 64 * KIB;
        for (n, (id, item)) in items.iter().enumerate() {
            let entry = &mut region[32 + 32 * n..][..32];
            entry[..16].copy_from_slice(id);
            entry[16..20].copy_from_slice(&number(at));
            entry[20..24].copy_from_slice(&number(item.len()));
            entry[24..28].copy_from_slice(&4_u32.to_le_bytes());
            region[at..at + item.len()].copy_from_slice(item);
            at += item.len();
        }
    }

    /// Appends the blocks to the file, and gives the table of blocks.
    fn blocks(&self, file: &mut Vec<u8>, content: &[u8], rng: &mut Rng) -> Vec<u8> {
        let (size, block, ratio) = (content.len(), self.block_size, self.chunk_ratio());
        let count = size.div_ceil(block);
        let chunks = count.div_ceil(ratio).max(1);
        let mut bat = vec![0_u64; chunks * (ratio + 1)];
        let mut bitmaps = vec![vec![0_u8; MIB]; chunks];
        let parent = self.parent.as_ref().map(|(_, parent)| parent.as_slice());
        let below = |at: usize| parent.and_then(|parent| parent.get(at)).copied().unwrap_or(0);
        let mut order: Vec<usize> = (0..count).collect();
        if self.shuffled {
            rng.shuffle(&mut order);
        }
        for n in order {
            let data = &content[n * block..((n + 1) * block).min(size)];
            let entry = &mut bat[n + n / ratio];
            if data.iter().all(|&byte| byte == 0) && rng.chance(70) {
                let zero_below = (0..data.len()).all(|at| below(n * block + at) == 0);
                // Without a parent all of these states read as zeros; with one, "not present" means the parent's
                // content.
                let state = rng.pick(&[0_u64, 1, 2, 3]);
                *entry = if state == 0 && !zero_below { 2 } else { state };
                if state == 1 || state == 3 {
                    *entry |= 77 << 20;
                }
                continue;
            }
            let same_below = parent.is_some() && (0..data.len()).all(|at| data[at] == below(n * block + at));
            if same_below && rng.chance(70) {
                continue;
            }
            file.resize(file.len().next_multiple_of(MIB) + if rng.chance(20) { MIB } else { 0 }, 0);
            *entry = file.len() as u64 | 6;
            let mut stored = data.to_vec();
            stored.resize(block, 0);
            if parent.is_some() && rng.chance(70) {
                *entry += 1;
                let first = (n % ratio) * (block / self.sector);
                for sector in 0..data.len().div_ceil(self.sector) {
                    let range = sector * self.sector..((sector + 1) * self.sector).min(data.len());
                    if range.clone().all(|at| data[at] == below(n * block + at)) {
                        rng.fill(&mut stored[range]);
                    } else {
                        bitmaps[n / ratio][(first + sector) / 8] |= 1 << ((first + sector) % 8);
                    }
                }
            }
            file.extend_from_slice(&stored);
        }
        if parent.is_some() {
            for (chunk, bitmap) in bitmaps.iter().enumerate() {
                file.resize(file.len().next_multiple_of(MIB), 0);
                bat[chunk * (ratio + 1) + ratio] = file.len() as u64 | 6;
                file.extend_from_slice(bitmap);
            }
        }
        file.resize(file.len().next_multiple_of(MIB), 0);
        let last = count + count.saturating_sub(1) / ratio;
        let needed = if parent.is_some() { bat.len() } else { last };
        bat[..needed].iter().flat_map(|entry| entry.to_le_bytes()).collect()
    }
}

/// A GUID as on disk.
pub fn guid(text: &str) -> [u8; 16] {
    let digits: String = text.chars().filter(|c| *c != '-').collect();
    let mut bytes = u128::from_str_radix(&digits, 16).unwrap().to_be_bytes();
    bytes[..4].reverse();
    bytes[4..6].reverse();
    bytes[6..8].reverse();
    bytes
}

fn region_table(table: &mut [u8], metadata: usize, bat: usize) {
    table[..4].copy_from_slice(b"regi");
    table[8..12].copy_from_slice(&2_u32.to_le_bytes());
    let regions = [("2dc27766-f623-4200-9d64-115e9bfd4a08", bat), ("8b7ca206-4790-4b9a-b8fe-575f050f886e", metadata)];
    for (n, (id, at)) in regions.into_iter().enumerate() {
        let entry = &mut table[16 + 32 * n..][..32];
        entry[..16].copy_from_slice(&guid(id));
        entry[16..24].copy_from_slice(&(at as u64).to_le_bytes());
        entry[24..28].copy_from_slice(&u32::try_from(MIB).unwrap().to_le_bytes());
        entry[28..32].copy_from_slice(&1_u32.to_le_bytes());
    }
    seal(table);
}

fn locator(linkage: &str) -> Vec<u8> {
    let pairs = [
        ("parent_linkage", format!("{{{linkage}}}")),
        ("parent_linkage2", "{00000000-0000-0000-0000-000000000000}".to_owned()),
        ("relative_path", "..\\secret.vhdx".to_owned()),
    ];
    let utf16 = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
    let mut bytes = guid("b04aefb7-d19e-4a81-b789-25b8e9445913").to_vec();
    bytes.extend_from_slice(&[0, 0, 3, 0]);
    let mut at = 20 + 12 * pairs.len();
    let mut texts = Vec::new();
    for (key, value) in &pairs {
        let (key, value) = (utf16(key), utf16(value));
        bytes.extend_from_slice(&u32::try_from(at).unwrap().to_le_bytes());
        bytes.extend_from_slice(&u32::try_from(at + key.len()).unwrap().to_le_bytes());
        bytes.extend_from_slice(&u16::try_from(key.len()).unwrap().to_le_bytes());
        bytes.extend_from_slice(&u16::try_from(value.len()).unwrap().to_le_bytes());
        at += key.len() + value.len();
        texts.extend([key, value]);
    }
    bytes.extend(texts.concat());
    bytes
}
