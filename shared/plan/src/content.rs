//! What is to be moved: an image version's chunks, and what stores have of them already.

use std::collections::{BTreeMap, HashMap, HashSet};

use goldfleet_model::hash::ChunkHash;
use goldfleet_model::manifest::{CHUNK_SIZE, Manifest};
use goldfleet_model::store::Container;
use serde::Serialize;

/// The chunks of an image version, as far as a plan needs to know them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PlanContent {
    /// Bytes that every target gets: all chunks, without zero runs.
    pub data_bytes: u64,
    /// Page writes that every target gets: the runs of all chunks.
    pub runs: u64,
    /// The most runs that one chunk has.
    pub runs_of_a_chunk: u64,
    /// Each content once, with its length in bytes.
    chunks: HashMap<ChunkHash, u64>,
    /// All of them.
    all: Amount,
}

/// Some of an image version's chunks, counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Amount {
    /// How many chunks.
    pub chunks: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Which chunks lie in which stores already, from earlier jobs and other versions. A store that is not in it has none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inventory(BTreeMap<Container, HashSet<ChunkHash>>);

impl PlanContent {
    /// The chunks that a manifest names.
    #[must_use]
    pub fn from_manifest(manifest: &Manifest) -> Self {
        let runs = manifest.chunks.iter().map(|chunk| chunk.runs.len() as u64);
        let chunks: HashMap<_, _> = manifest.chunks.iter().map(|chunk| (chunk.hash, u64::from(chunk.length))).collect();
        Self {
            data_bytes: manifest.data_bytes(),
            runs: runs.clone().sum(),
            runs_of_a_chunk: runs.max().unwrap_or(0),
            all: Amount { chunks: chunks.len() as u64, bytes: chunks.values().sum() },
            chunks,
        }
    }

    /// So many bytes in whole chunks of one run each, for figures without an image.
    #[must_use]
    pub fn synthetic(bytes: u64) -> Self {
        let count = bytes.div_ceil(CHUNK_SIZE);
        let length = |n: u64| CHUNK_SIZE.min(bytes - n * CHUNK_SIZE);
        let chunks = (0..count).map(|n| (ChunkHash::of(&n.to_le_bytes()), length(n))).collect();
        let all = Amount { chunks: count, bytes };
        Self { data_bytes: bytes, runs: count, runs_of_a_chunk: 1, chunks, all }
    }

    /// All of it, each content once: what a store without anything lacks.
    #[must_use]
    pub fn all(&self) -> Amount {
        self.all
    }

    /// Each chunk's hash, in no order.
    pub fn hashes(&self) -> impl Iterator<Item = &ChunkHash> {
        self.chunks.keys()
    }
}

impl Inventory {
    /// Notes that a store has a chunk.
    pub fn insert(&mut self, store: Container, chunk: ChunkHash) {
        self.0.entry(store).or_default().insert(chunk);
    }

    /// The stores that have anything, each with its chunks.
    pub fn stores(&self) -> impl Iterator<Item = (&Container, &HashSet<ChunkHash>)> {
        self.0.iter()
    }

    /// What a store lacks.
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
