//! Verifies that a store has every chunk of the version, undamaged.

use std::collections::HashSet;

use futures::stream::{self, StreamExt as _};
use goldfleet_model::checksum::crc64;
use goldfleet_model::manifest::{ChunkEntry, ChunkHash, chunk_name};
use goldfleet_model::store::{Container, Store};
use goldfleet_ports::blob_store::ListedBlob;
use goldfleet_ports::chunk_store::{self, delete_listed};
use goldfleet_ports::error::{ErrorKind, PortResult};

use super::{Location, VerifyFault, VerifyReport, VerifyRun};
use crate::control::context::MAX_IN_FLIGHT;

/// The fault of a chunk that does not exist. There is nothing to remove in this case.
pub const MISSING: &str = "is missing";

/// The chunks that were found in a store.
#[derive(Default)]
struct StoreCheck<'a> {
    /// Chunks that have the expected length.
    whole: Vec<(&'a ChunkEntry, ListedBlob)>,
    /// Chunks whose content or length does not match their names.
    wrong: Vec<(&'a ChunkEntry, ListedBlob)>,
}

impl VerifyRun<'_> {
    pub(super) async fn store(&self, at: Location<'_>, store: &Store, seen: &mut VerifyReport) -> PortResult<()> {
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

    /// Removes damaged chunks, each only if its ETag is the listed one. This is safe even if jobs rely on a chunk,
    /// because no reader accepts bytes with a wrong checksum. Each chunk is read again before it is removed: a chunk
    /// whose content matches its name is undamaged, even if this manifest differs, and other versions may need it.
    async fn remove(&self, store: &Store, wrong: &[(&ChunkEntry, ListedBlob)]) -> PortResult<usize> {
        let container = store.container();
        let mut removed = 0;
        for (entry, listed) in wrong {
            if self.is_wrong(&container, entry, listed).await? {
                removed += usize::from(delete_listed(&self.control.ports, &container, listed).await?);
            }
        }
        Ok(removed)
    }

    /// Whether the content of a chunk does not match the hash in its name.
    async fn is_wrong(&self, container: &Container, entry: &ChunkEntry, listed: &ListedBlob) -> PortResult<bool> {
        match self.control.ports.blobs.get(&container.blob(listed.name.as_str()), None).await {
            Ok(content) => Ok(ChunkHash::of(&content) != entry.hash),
            // Another process has removed the chunk.
            Err(error) if error.kind == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Finds every distinct chunk of the version in the listing of the store.
    async fn listed(
        &self,
        at: Location<'_>,
        store: &Store,
        faults: &mut Vec<VerifyFault>,
    ) -> PortResult<StoreCheck<'_>> {
        let mut present = chunk_store::list_chunks(self.control.ports.blobs.as_ref(), &store.container()).await?;
        let mut found = StoreCheck::default();
        let mut seen = HashSet::new();
        for entry in self.version()?.chunks().filter(|entry| seen.insert(entry.hash)) {
            match present.remove(&chunk_name(&entry.hash)) {
                None => faults.push(chunk_fault(at, entry, MISSING)),
                Some(listed) if listed.length != u64::from(entry.length) => {
                    faults.push(chunk_fault(at, entry, format!("has {} bytes, not {}", listed.length, entry.length)));
                    found.wrong.push((entry, listed));
                }
                Some(listed) => found.whole.push((entry, listed)),
            }
        }
        Ok(found)
    }

    /// Reads the chunks that have the expected length, and compares their checksums.
    async fn compare(
        &self,
        at: Location<'_>,
        store: &Store,
        found: &mut StoreCheck<'_>,
        faults: &mut Vec<VerifyFault>,
    ) -> PortResult<()> {
        let container = store.container();
        let mut reading = stream::iter(std::mem::take(&mut found.whole))
            .map(async |(entry, listed): (&ChunkEntry, ListedBlob)| {
                let content = self.control.ports.blobs.get(&container.blob(listed.name.as_str()), None).await;
                (entry, listed, content.map(|content| crc64(&content) == entry.crc64()))
            })
            .buffer_unordered(MAX_IN_FLIGHT);
        while let Some((entry, listed, right)) = reading.next().await {
            match right {
                Ok(true) => self.add_bytes_read(entry.length.into()),
                Ok(false) => {
                    self.add_bytes_read(entry.length.into());
                    faults.push(chunk_fault(at, entry, "has wrong bytes"));
                    found.wrong.push((entry, listed));
                }
                // The chunk was deleted after it was listed, by garbage collection or by another verification.
                Err(error) if error.kind == ErrorKind::NotFound => faults.push(chunk_fault(at, entry, MISSING)),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

fn chunk_fault(at: Location<'_>, entry: &ChunkEntry, fault: impl Into<String>) -> VerifyFault {
    VerifyFault { chunk: Some(entry.hash.to_string()), ..at.describe_fault(fault) }
}
