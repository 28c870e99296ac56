//! From a window's bytes to a chunk.

use goldfleet_model::checksum::{Crc64, concatenated_crc64};
use goldfleet_model::hash::ChunkHasher;
use goldfleet_model::manifest::{ChunkEntry, ChunkHash, Md5Sum, Run};

use super::{WindowBuffer, is_zero};

/// Zero runs of at least this length in bytes are removed; shorter ones inside data are sent.
///
/// Removing one saves its bytes and costs another run, which is another request at every target. A page blob takes 60
/// MiB/s and 500 requests/s (Azure's documented limits), so a request costs as much time as 123 KiB. On a disk of many
/// small files with a third of them trimmed, 4 KiB is bound by requests (6.0 s against 1.5 s by bytes); 16 KiB is
/// fastest if both limits run side by side (1.8 s, 64 KiB: 2.0 s), 64 KiB and 256 KiB if their times add up (2.3 s, 16
/// KiB: 2.9 s). 64 KiB is near the best either way, with a quarter of the requests of 16 KiB and a tenth fewer bytes
/// than 256 KiB. It also bounds a chunk at 64 runs.
pub const ZERO_RUN_THRESHOLD: usize = 64 * 1024;

const SECTOR: usize = 512;

/// Bytes for which CRC and hash are computed alternately. They stay in the L2 cache of a core (1 or 2 MiB on servers)
/// between the two; a whole chunk does not.
const BLOCK: usize = 512 * 1024;

/// A packed chunk: its entry in the manifest without the MD5 of its runs.
///
/// MD5 takes ten times as long as all other work on a chunk, and is computed on other threads: see
/// [`PackedChunk::md5_of_runs`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackedChunk {
    /// The hash of its bytes.
    pub hash: ChunkHash,
    /// Its length in bytes: the sum of its runs.
    pub length: u32,
    /// Its runs, in the order of the disk; at least one.
    pub runs: Vec<PackedRun>,
}

/// A run of a [`PackedChunk`]. The fields are those of [`Run`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackedRun {
    /// Where it begins on the disk, in bytes.
    pub offset: u64,
    /// Its length in bytes.
    pub length: u32,
    /// Where it begins in the chunk, in bytes.
    pub at: u32,
    /// The CRC-64/NVME of its bytes.
    pub crc64: u64,
}

impl PackedChunk {
    /// The CRC-64/NVME of the whole chunk.
    #[must_use]
    pub fn crc64(&self) -> u64 {
        concatenated_crc64(self.runs.iter().map(|run| (run.crc64, u64::from(run.length))))
    }

    /// The MD5 of each run, in order, of a chunk with these bytes.
    #[must_use]
    pub fn md5_of_runs(&self, bytes: &[u8]) -> Vec<Md5Sum> {
        self.runs.iter().map(|run| Md5Sum::of(&bytes[run.at as usize..][..run.length as usize])).collect()
    }

    /// Its entry in the manifest. `md5` has one element for each run, in order.
    #[must_use]
    pub fn into_entry(self, md5: &[Md5Sum]) -> ChunkEntry {
        debug_assert_eq!(self.runs.len(), md5.len(), "one MD5 for each run");
        let runs = self.runs.iter().zip(md5).map(|(run, md5)| {
            let PackedRun { offset, length, at, crc64 } = *run;
            Run { offset, length, at, crc64, md5: *md5 }
        });
        ChunkEntry { hash: self.hash, length: self.length, runs: runs.collect() }
    }
}

/// Packs a window that begins at `offset` of the disk: removes its zero runs from `window`, in place. The remaining
/// bytes are the chunk, which is described by the result. `None` if the window is zero. The window's length is a
/// multiple of 512 and at most 4 MiB.
#[must_use]
pub fn pack(window: &mut WindowBuffer, offset: u64) -> Option<PackedChunk> {
    pack_with(window, offset, ZERO_RUN_THRESHOLD)
}

/// [`pack`] with another threshold, for the benchmark that chose it.
#[must_use]
pub fn pack_with(window: &mut WindowBuffer, offset: u64, threshold: usize) -> Option<PackedChunk> {
    let mut runs = Vec::new();
    let mut packed = 0;
    for (start, end) in data_runs(window, threshold) {
        window.append_run(packed, start..end);
        // A window is at most 4 MiB, so lengths and positions in it fit 32 bits.
        let (length, at) = (u32::try_from(end - start).ok()?, u32::try_from(packed).ok()?);
        runs.push(PackedRun { offset: offset + start as u64, length, at, crc64: 0 });
        packed += end - start;
    }
    window.set_length(packed);
    if runs.is_empty() {
        return None;
    }
    let hash = sum_and_hash(window, &mut runs);
    Some(PackedChunk { hash, length: u32::try_from(packed).ok()?, runs })
}

/// Sets the CRC of each run of a chunk and returns the hash of the chunk.
fn sum_and_hash(chunk: &[u8], runs: &mut [PackedRun]) -> ChunkHash {
    let mut hash = ChunkHasher::default();
    let (mut summed, mut hashed) = (0, 0);
    for run in runs {
        let mut crc = Crc64::default();
        let end = summed + run.length as usize;
        while summed < end {
            let next = end.min(hashed + BLOCK);
            crc.update(&chunk[summed..next]);
            summed = next;
            if summed == hashed + BLOCK {
                hash.update(&chunk[hashed..summed]);
                hashed = summed;
            }
        }
        run.crc64 = crc.finish();
    }
    hash.update(&chunk[hashed..]);
    hash.finish()
}

/// The ranges of sectors to keep: those with data, joined if fewer than `threshold` zero bytes are between them.
fn data_runs(window: &[u8], threshold: usize) -> Vec<(usize, usize)> {
    // Zeros inside a page are too few to be removed. So only the start and the end of its data are searched, and the
    // middle of a page full of data is not read.
    let page_size = (threshold / SECTOR).max(1) * SECTOR;
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for (page_start, page) in (0..).step_by(page_size).zip(window.chunks(page_size)) {
        let mut sectors = page.chunks(SECTOR);
        let Some(first) = sectors.position(|sector| !is_zero(sector)) else { continue };
        let zeros_behind = sectors.rev().take_while(|sector| is_zero(sector)).count();
        let (start, end) = (page_start + first * SECTOR, page_start + page.len() - zeros_behind * SECTOR);
        match runs.last_mut() {
            Some((_, last)) if start - *last < threshold.max(SECTOR) => *last = end,
            _ => runs.push((start, end)),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use goldfleet_model::checksum::crc64;
    use proptest::prelude::*;

    use super::*;

    fn unpack(entry: &PackedChunk, packed: &[u8], offset: u64, length: usize) -> Vec<u8> {
        let mut window = vec![0; length];
        for run in &entry.runs {
            let from = usize::try_from(run.offset - offset).unwrap();
            let bytes = &packed[run.at as usize..(run.at + run.length) as usize];
            assert_eq!(crc64(bytes), run.crc64);
            window[from..from + bytes.len()].copy_from_slice(bytes);
        }
        window
    }

    proptest! {
        #[test]
        fn pack_round_trips(
            sectors in 1_usize..400,
            data in prop::collection::vec((0_usize..400, 1_usize..30, 1_u8..), 0..12),
            threshold in prop::sample::select(vec![512_usize, 4096, 65536]),
        ) {
            let mut window = vec![0_u8; sectors * SECTOR];
            for (start, length, byte) in data {
                for sector in window.chunks_mut(SECTOR).skip(start).take(length) {
                    sector[usize::from(byte)] = byte;
                }
            }
            let original = window;
            let mut window = WindowBuffer::from(&*original);
            match pack_with(&mut window, 8 << 20, threshold) {
                None => prop_assert!(is_zero(&original)),
                Some(entry) => {
                    prop_assert_eq!(window.len(), entry.length as usize);
                    prop_assert_eq!(entry.hash, ChunkHash::of(&window));
                    prop_assert_eq!(entry.crc64(), crc64(&window));
                    let in_manifest = entry.clone().into_entry(&entry.md5_of_runs(&window));
                    prop_assert_eq!(in_manifest.crc64(), crc64(&window));
                    prop_assert_eq!(in_manifest.md5().is_some(), entry.runs.len() == 1);
                    for run in &in_manifest.runs {
                        prop_assert_eq!(run.md5, Md5Sum::of(&window[run.at as usize..][..run.length as usize]));
                    }
                    for run in &entry.runs {
                        let bytes = &window[run.at as usize..][..run.length as usize];
                        let zeros: Vec<bool> = bytes.chunks(SECTOR).map(is_zero).collect();
                        prop_assert!(!zeros[0] && !zeros[zeros.len() - 1]);
                        prop_assert!(zeros.split(|zero| !zero).all(|gap| gap.len() * SECTOR < threshold));
                    }
                    prop_assert_eq!(unpack(&entry, &window, 8 << 20, original.len()), original);
                }
            }
        }
    }

    #[test]
    fn only_long_zero_runs_are_removed() {
        let mut window = vec![0_u8; 4 << 20];
        for at in [SECTOR, SECTOR + ZERO_RUN_THRESHOLD, 3 * SECTOR + 2 * ZERO_RUN_THRESHOLD] {
            window[at] = 1;
        }
        let entry = pack(&mut WindowBuffer::from(&*window), 0).unwrap();
        let runs: Vec<_> = entry.runs.iter().map(|run| (run.offset, run.length)).collect();
        assert_eq!(runs, [(512, 65536 + 512), (3 * 512 + 131_072, 512)]);
    }

    #[test]
    fn runs_across_blocks_have_correct_checksums() {
        let mut window = vec![0x5a_u8; 4 << 20];
        for hole in [SECTOR..3 * BLOCK / 4, BLOCK - SECTOR..2 * BLOCK, 7 * BLOCK..7 * BLOCK + 2 * ZERO_RUN_THRESHOLD] {
            window[hole].fill(0);
        }
        let mut packed = WindowBuffer::from(&*window);
        let entry = pack(&mut packed, 0).unwrap();
        let lengths: Vec<_> = entry.runs.iter().map(|run| run.length as usize).collect();
        let last = BLOCK - 2 * ZERO_RUN_THRESHOLD;
        assert_eq!(lengths, [SECTOR, BLOCK / 4 - SECTOR, 5 * BLOCK, last]);
        assert_eq!(entry.hash, ChunkHash::of(&packed));
        for run in &entry.runs {
            assert_eq!(run.crc64, crc64(&packed[run.at as usize..][..run.length as usize]));
        }
    }
}
