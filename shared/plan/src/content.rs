//! The content to transfer: the chunks of an image version, and those that stores already have.

use std::collections::{BTreeMap, HashMap, HashSet};

use goldfleet_model::hash::ChunkHash;
use goldfleet_model::manifest::{CHUNK_SIZE, Manifest};
use goldfleet_model::store::Container;
use serde::Serialize;

/// The chunks of an image version, with the facts that a plan needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PlanContent {
    /// The bytes that every target receives: all chunks, without zero runs.
    pub data_bytes: u64,
    /// The page writes that every target receives: the runs of all chunks.
    pub runs: u64,
    /// The number of disks.
    pub disks: u64,
    /// The bytes of the largest disk: the VHDs of the disks are written at the same time.
    pub data_bytes_of_a_disk: u64,
    /// The page writes of the disk that needs the most.
    pub runs_of_a_disk: u64,
    /// The largest number of runs in one chunk.
    pub runs_of_a_chunk: u64,
    /// The distinct chunks, with their lengths in bytes.
    chunks: HashMap<ChunkHash, u64>,
    /// The amount of the distinct chunks.
    all: Amount,
}

/// A number of chunks and their bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Amount {
    /// The number of chunks.
    pub chunks: u64,
    /// The sum of their lengths in bytes.
    pub bytes: u64,
}

/// The chunks that stores already have, from earlier jobs and other versions. A store that is not listed has none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inventory(BTreeMap<Container, HashSet<ChunkHash>>);

impl PlanContent {
    /// Collects the chunks of the manifests of all disks.
    #[must_use]
    pub fn from_manifests(manifests: &[Manifest]) -> Self {
        let all = || manifests.iter().flat_map(|manifest| &manifest.chunks);
        let runs = manifests.iter().flat_map(runs_of);
        let chunks: HashMap<_, _> = all().map(|chunk| (chunk.hash, u64::from(chunk.length))).collect();
        Self {
            data_bytes: manifests.iter().map(Manifest::data_bytes).sum(),
            disks: manifests.len() as u64,
            data_bytes_of_a_disk: manifests.iter().map(Manifest::data_bytes).max().unwrap_or(0),
            runs_of_a_disk: manifests.iter().map(|disk| runs_of(disk).sum()).max().unwrap_or(0),
            runs: runs.clone().sum(),
            runs_of_a_chunk: runs.max().unwrap_or(0),
            all: Amount { chunks: chunks.len() as u64, bytes: chunks.values().sum() },
            chunks,
        }
    }

    /// Creates `bytes` of content in whole chunks of one run each, for estimates without an image.
    #[must_use]
    pub fn synthetic(bytes: u64) -> Self {
        let count = bytes.div_ceil(CHUNK_SIZE);
        let length = |n: u64| CHUNK_SIZE.min(bytes - n * CHUNK_SIZE);
        let chunks = (0..count).map(|n| (ChunkHash::of(&n.to_le_bytes()), length(n))).collect();
        let all = Amount { chunks: count, bytes };
        Self {
            data_bytes: bytes,
            runs: count,
            disks: 1,
            data_bytes_of_a_disk: bytes,
            runs_of_a_disk: count,
            runs_of_a_chunk: 1,
            chunks,
            all,
        }
    }

    /// The amount of all distinct chunks: what an empty store lacks.
    #[must_use]
    pub fn all(&self) -> Amount {
        self.all
    }

    /// The hashes of the distinct chunks, in no particular order.
    pub fn hashes(&self) -> impl Iterator<Item = &ChunkHash> {
        self.chunks.keys()
    }
}

/// The runs of each chunk of a disk.
fn runs_of(manifest: &Manifest) -> impl Iterator<Item = u64> + Clone {
    manifest.chunks.iter().map(|chunk| chunk.runs.len() as u64)
}

impl Inventory {
    /// Records that a store has a chunk.
    pub fn insert(&mut self, store: Container, chunk: ChunkHash) {
        self.0.entry(store).or_default().insert(chunk);
    }

    /// The stores that have at least one chunk, with their chunks.
    pub fn stores(&self) -> impl Iterator<Item = (&Container, &HashSet<ChunkHash>)> {
        self.0.iter()
    }

    /// The amount that a store lacks.
    #[must_use]
    pub fn missing(&self, content: &PlanContent, store: &Container) -> Amount {
        let Some(held) = self.0.get(store) else { return content.all() };
        let lacks = content.chunks.iter().filter(|(hash, _)| !held.contains(hash));
        lacks.fold(Amount::default(), |sum, (_, length)| Amount { chunks: sum.chunks + 1, bytes: sum.bytes + length })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_chunks_are_not_missing() {
        let content = PlanContent::synthetic(10 << 20);
        assert_eq!(content.all(), Amount { chunks: 3, bytes: 10 << 20 });
        let store = Container { account: "gold".parse().unwrap(), container: "golden".parse().unwrap() };
        let mut inventory = Inventory::default();
        assert_eq!(inventory.missing(&content, &store), content.all());
        inventory.insert(store.clone(), ChunkHash::of(&2_u64.to_le_bytes()));
        inventory.insert(store.clone(), ChunkHash::of(b"of another image"));
        assert_eq!(inventory.missing(&content, &store), Amount { chunks: 2, bytes: 8 << 20 });
    }
}
