//! Logs of VHDX files.

use super::sums::seal;
use super::{KIB, MIB, Rng};

const SECTOR: usize = 4 * KIB;

/// A change that only the log holds.
#[derive(Debug, Clone)]
pub enum Write {
    Data { at: usize, bytes: Vec<u8> },
    Zero { at: usize, length: usize },
}

/// Takes the content of a region out of the file, so that only the returned writes give it.
pub fn postpone(file: &mut [u8], region: (usize, usize), rng: &mut Rng) -> Vec<Write> {
    let mut writes = Vec::new();
    for at in (region.0..region.1).step_by(SECTOR) {
        let bytes = file[at..at + SECTOR].to_vec();
        if rng.chance(30) {
            // An older state of the sector comes first; the later write counts.
            let mut older = vec![0; SECTOR];
            rng.fill(&mut older);
            writes.push(Write::Data { at, bytes: older });
        }
        if bytes.iter().all(|&byte| byte == 0) {
            writes.push(Write::Zero { at, length: SECTOR });
        } else {
            if rng.chance(30) {
                writes.push(Write::Zero { at, length: SECTOR });
            }
            writes.push(Write::Data { at, bytes });
        }
        rng.fill(&mut file[at..at + SECTOR]);
    }
    writes
}

/// A log region of `size` bytes with the writes in one or more entries. They begin at `begins_at` or at a random
/// sector, and may continue at the start of the region. The rest of the region holds remains of earlier logs.
pub fn write(
    size: usize,
    begins_at: Option<usize>,
    guid: [u8; 16],
    writes: &[Write],
    file_size: u64,
    rng: &mut Rng,
) -> Vec<u8> {
    let mut log = vec![0; size];
    if rng.chance(50) {
        rng.fill(&mut log);
    }
    let random = rng.below(size / SECTOR) * SECTOR;
    let first = begins_at.unwrap_or(random);
    let mut at = first;
    let mut sequence = 1000 + rng.below(1000) as u64;
    if rng.chance(50) {
        // A complete, but older sequence.
        let stale = [Write::Zero { at: 3 * MIB, length: MIB }];
        let entry = entry(&stale, guid, at, 17, file_size);
        put(&mut log, &mut at, &entry);
    }
    let tail = at;
    let mut rest = writes;
    loop {
        let (part, others) = rest.split_at(rest.len().min(1 + rng.below(60)));
        let entry = entry(part, guid, tail, sequence, file_size);
        put(&mut log, &mut at, &entry);
        sequence += 1;
        rest = others;
        if rest.is_empty() {
            break;
        }
    }
    log
}

fn put(log: &mut [u8], at: &mut usize, entry: &[u8]) {
    for sector in entry.chunks(SECTOR) {
        log[*at..*at + SECTOR].copy_from_slice(sector);
        *at = (*at + SECTOR) % log.len();
    }
}

fn entry(writes: &[Write], guid: [u8; 16], tail: usize, sequence: u64, file_size: u64) -> Vec<u8> {
    let mut entry = vec![0; (64 + 32 * writes.len()).next_multiple_of(SECTOR)];
    let mut data = Vec::new();
    for (n, write) in writes.iter().enumerate() {
        let descriptor = &mut entry[64 + 32 * n..][..32];
        let at = match write {
            Write::Zero { at, length } => {
                descriptor[..4].copy_from_slice(b"zero");
                descriptor[8..16].copy_from_slice(&(*length as u64).to_le_bytes());
                at
            }
            Write::Data { at, bytes } => {
                descriptor[..4].copy_from_slice(b"desc");
                descriptor[4..8].copy_from_slice(&bytes[4092..]);
                descriptor[8..16].copy_from_slice(&bytes[..8]);
                let mut sector = bytes.clone();
                sector[..4].copy_from_slice(b"data");
                sector[4..8].copy_from_slice(&sequence.to_le_bytes()[4..]);
                sector[4092..].copy_from_slice(&sequence.to_le_bytes()[..4]);
                data.extend(sector);
                at
            }
        };
        descriptor[16..24].copy_from_slice(&(*at as u64).to_le_bytes());
        descriptor[24..32].copy_from_slice(&sequence.to_le_bytes());
    }
    entry.extend(data);
    let length = entry.len();
    entry[..4].copy_from_slice(b"loge");
    entry[8..12].copy_from_slice(&u32::try_from(length).unwrap().to_le_bytes());
    entry[12..16].copy_from_slice(&u32::try_from(tail).unwrap().to_le_bytes());
    entry[16..24].copy_from_slice(&sequence.to_le_bytes());
    entry[24..28].copy_from_slice(&u32::try_from(writes.len()).unwrap().to_le_bytes());
    entry[32..48].copy_from_slice(&guid);
    entry[48..56].copy_from_slice(&file_size.to_le_bytes());
    entry[56..64].copy_from_slice(&file_size.to_le_bytes());
    seal(&mut entry);
    entry
}
