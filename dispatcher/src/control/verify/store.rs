//! Whether a store has every chunk of the version, and whole.

use std::collections::HashSet;

use futures::stream::{self, StreamExt as _};
use goldfleet_model::checksum::crc64;
use goldfleet_model::manifest::{ChunkEntry, ChunkHash, chunk_name};
use goldfleet_model::store::{Container, Store};
use goldfleet_ports::blob_store::BlobListed;
use goldfleet_ports::chunk_store::{self, discard};
use goldfleet_ports::error::{ErrorKind, PortResult};

use super::{Checking, Fault, Place, Verified};
use crate::control::desk::IN_FLIGHT;

/// What is said of a chunk that is not there: nothing is left of it that could be removed.
pub const MISSING: &str = "is missing";

/// What was found in a store.
#[derive(Default)]
struct InStore<'a> {
    /// The chunks that are there with their lengths.
    whole: Vec<(&'a ChunkEntry, BlobListed)>,
    /// The chunks that are there and not what their names say.
    wrong: Vec<(&'a ChunkEntry, BlobListed)>,
}

impl Checking<'_> {
    pub(super) async fn store(&self, at: Place<'_>, store: &Store, seen: &mut Verified) -> PortResult<()> {
        let mut found = self.listed(at, store, &mut seen.faults).await?;
        seen.stores = 1;
        if self.how.read {
            self.compare(at, store, &mut found, &mut seen.faults).await?;
        }
        if self.how.remove {
            seen.removed = self.remove(store, &found.wrong).await?;
        }
        Ok(())
    }

    /// Removes chunks that are wrong, each in the version that was listed. Jobs may rely on them: it costs them nothing, as nobody
    /// takes bytes that are not those of the checksum. Each is read once more first: what its name is the hash of is whole,
    /// whatever this manifest says, and other versions may need it.
    async fn remove(&self, store: &Store, wrong: &[(&ChunkEntry, BlobListed)]) -> PortResult<usize> {
        let container = store.container();
        let mut removed = 0;
        for (entry, listed) in wrong {
            if self.is_wrong(&container, entry, listed).await? {
                removed += usize::from(discard(&self.desk.ports, &container, listed).await?);
            }
        }
        Ok(removed)
    }

    /// Whether a chunk has bytes that its name is not the hash of.
    async fn is_wrong(&self, container: &Container, entry: &ChunkEntry, listed: &BlobListed) -> PortResult<bool> {
        match self.desk.ports.blobs.get(&container.blob(listed.name.as_str()), None).await {
            Ok(content) => Ok(ChunkHash::of(&content) != entry.hash),
            // Somebody else has removed it.
            Err(error) if error.kind == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Every chunk of the version, each content once, as the store's list has it.
    async fn listed(&self, at: Place<'_>, store: &Store, faults: &mut Vec<Fault>) -> PortResult<InStore<'_>> {
        let mut present = chunk_store::present(self.desk.ports.blobs.as_ref(), &store.container()).await?;
        let mut found = InStore::default();
        let mut seen = HashSet::new();
        for entry in self.manifest.chunks.iter().filter(|entry| seen.insert(entry.hash)) {
            match present.remove(&chunk_name(&entry.hash)) {
                None => faults.push(of_chunk(at, entry, MISSING)),
                Some(listed) if listed.length != u64::from(entry.length) => {
                    faults.push(of_chunk(at, entry, format!("has {} bytes, not {}", listed.length, entry.length)));
                    found.wrong.push((entry, listed));
                }
                Some(listed) => found.whole.push((entry, listed)),
            }
        }
        Ok(found)
    }

    /// Reads the chunks that seem whole.
    async fn compare(
        &self,
        at: Place<'_>,
        store: &Store,
        found: &mut InStore<'_>,
        faults: &mut Vec<Fault>,
    ) -> PortResult<()> {
        let container = store.container();
        let mut reading = stream::iter(std::mem::take(&mut found.whole))
            .map(async |(entry, listed): (&ChunkEntry, BlobListed)| {
                let content = self.desk.ports.blobs.get(&container.blob(listed.name.as_str()), None).await;
                (entry, listed, content.map(|content| crc64(&content) == entry.crc64()))
            })
            .buffer_unordered(IN_FLIGHT);
        while let Some((entry, listed, right)) = reading.next().await {
            match right {
                Ok(true) => self.read(entry.length.into()),
                Ok(false) => {
                    self.read(entry.length.into());
                    faults.push(of_chunk(at, entry, "has other bytes than it should have"));
                    found.wrong.push((entry, listed));
                }
                // Collected since it was listed, or removed by somebody else who verifies.
                Err(error) if error.kind == ErrorKind::NotFound => faults.push(of_chunk(at, entry, MISSING)),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

fn of_chunk(at: Place<'_>, entry: &ChunkEntry, fault: impl Into<String>) -> Fault {
    Fault { chunk: Some(entry.hash.to_string()), ..at.wrong(fault) }
}
