//! What is known of a disk before it is read: an earlier content of it, and where it may differ from that. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use goldfleet_disk::AzureDisk;
use goldfleet_model::manifest::{CHUNK_SIZE, ChunkEntry, Manifest};

/// The earlier content of a disk. The disk is equal to it outside of the windows that may differ.
///
/// The first and the last bytes of the disk are always among these, because the bytes of a partition table can be
/// changed while they are read, depending on options of an upload: see [`AzureDisk::CHANGED_EDGE`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EarlierContent {
    size: u64,
    chunks: BTreeMap<u64, ChunkEntry>,
    differing: BTreeSet<u64>,
}

/// What is known of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EarlierWindow<'a> {
    /// It may differ, so it must be read.
    Differs,
    /// It is zero.
    Zero,
    /// It has this chunk.
    Chunk(&'a ChunkEntry),
}

fn windows_of(range: &Range<u64>) -> Range<u64> {
    range.start / CHUNK_SIZE..range.end.div_ceil(CHUNK_SIZE)
}

impl EarlierContent {
    /// The content of a manifest, except in these ranges.
    #[must_use]
    pub fn new(manifest: &Manifest, differences: &[Range<u64>]) -> Self {
        let size = manifest.size;
        let edge = AzureDisk::CHANGED_EDGE;
        let edges = [0..edge.min(size), size.saturating_sub(edge)..size];
        let ranges = differences.iter().chain(&edges).filter(|range| !range.is_empty());
        let mut differing: BTreeSet<u64> = ranges.flat_map(windows_of).collect();
        let mut chunks = BTreeMap::new();
        for entry in &manifest.chunks {
            let ends = entry.runs.first().zip(entry.runs.last());
            let windows = ends.map(|(first, last)| windows_of(&(first.offset..last.range().end))).unwrap_or_default();
            if windows.end == windows.start + 1 {
                chunks.insert(windows.start, entry.clone());
            } else {
                // A chunk has one window. Of any other one, nothing is known.
                differing.extend(windows);
            }
        }
        Self { size, chunks, differing }
    }

    /// The size of the disk in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// What is known of a window, which begins at a multiple of [`CHUNK_SIZE`].
    #[must_use]
    pub fn window(&self, window: &Range<u64>) -> EarlierWindow<'_> {
        let number = window.start / CHUNK_SIZE;
        if self.differing.contains(&number) || window.end > self.size {
            return EarlierWindow::Differs;
        }
        self.chunks.get(&number).map_or(EarlierWindow::Zero, EarlierWindow::Chunk)
    }
}

#[cfg(test)]
mod tests {
    use goldfleet_model::hash::{ChunkHash, Md5Sum};
    use goldfleet_model::manifest::Run;

    use super::*;

    const W: u64 = CHUNK_SIZE;

    fn entry(offset: u64, length: u32) -> ChunkEntry {
        let run = Run { offset, length, at: 0, crc64: offset, md5: Md5Sum::of(&offset.to_le_bytes()) };
        ChunkEntry { hash: ChunkHash::of(&offset.to_le_bytes()), length, runs: vec![run] }
    }

    #[test]
    fn windows_without_a_difference_are_known() {
        let chunks = (0..8).filter(|n| *n != 3).map(|n| entry(n * W + 512, 1024)).collect();
        let manifest = Manifest { size: 8 * W + W / 4, footer: [0; 512], chunks };
        let earlier = EarlierContent::new(&manifest, &[2 * W - 512..2 * W + 512, 5 * W..5 * W]);
        let found = |n: u64| earlier.window(&(n * W..(n + 1) * W));
        for n in [0, 1, 2, 7, 8, 100] {
            assert_eq!(found(n), EarlierWindow::Differs, "{n}: a difference, an edge, or not in the disk");
        }
        for n in [4, 5, 6] {
            assert_eq!(found(n), EarlierWindow::Chunk(&entry(n * W + 512, 1024)), "{n}");
        }
        assert_eq!(found(3), EarlierWindow::Zero);
    }

    #[test]
    fn a_chunk_of_two_windows_is_not_known() {
        let manifest = Manifest { size: 8 * W, footer: [0; 512], chunks: vec![entry(4 * W - 512, 1024)] };
        let earlier = EarlierContent::new(&manifest, &[]);
        let found = |n: u64| earlier.window(&(n * W..(n + 1) * W));
        assert_eq!(
            [2, 3, 4, 5].map(found),
            [EarlierWindow::Zero, EarlierWindow::Differs, EarlierWindow::Differs, EarlierWindow::Zero]
        );
    }
}
