//! Seed: fill a region's store, once over the WAN, with the chunks that it lacks.

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use goldfleet_model::chunk_set::ChunkSet;
use goldfleet_model::ids::AccountName;
use goldfleet_model::manifest::{ChunkEntry, Manifest, chunk_name};
use goldfleet_model::store::{BlobAddress, Container, Store};
use goldfleet_ports::blob_store::{BlobListed, BlobStore, SourceRange};
use goldfleet_ports::chunk_store::{self, discard, rely_on};
use goldfleet_ports::error::{ErrorKind, PortResult};

use super::transfer::{Destination, fill};
use super::{Attempt, Outcome, Shared, StepError, source_of};

/// Runs a seed.
///
/// # Errors
/// [`StepError`] where it was stopped or the attempt failed.
pub(super) async fn run(attempt: Attempt<'_>, store: &Store, from: &[Store]) -> Result<Outcome, StepError> {
    let (blobs, container) = (attempt.blobs(), store.container());
    let manifest = attempt.manifest(source_of(from)?).await?;
    let recorded = &attempt.operation.progress.done;
    let is_begun = recorded.len() == manifest.chunk_count() && recorded.count() > 0;
    if !is_begun {
        blobs.ensure_container(&container).await?;
        let (done, bytes) = already_there(attempt, &container, &manifest).await?;
        attempt.hold.set_progress(None, done, bytes, manifest.data_bytes());
    }
    let destination = StoreDestination { blobs, container, requests: attempt.shared.settings.seed_requests };
    fill(attempt, &manifest, from, &destination).await
}

/// Which chunks the store has from earlier jobs and other images. Old ones are renewed, so that no clean-up that is
/// looking at them right now takes them for abandoned; those of another length are removed, so that whole ones take their
/// place.
async fn already_there(
    attempt: Attempt<'_>,
    container: &Container,
    manifest: &Manifest,
) -> Result<(ChunkSet, u64), StepError> {
    let Attempt { shared, hold, .. } = attempt;
    let present = chunk_store::present(attempt.blobs(), container).await?;
    let mut done = ChunkSet::empty(manifest.chunk_count());
    let mut bytes = 0;
    let mut waiting = (0_u32..).zip(&manifest.chunks);
    let mut checking = FuturesUnordered::new();
    loop {
        while checking.len() < shared.settings.seed_requests {
            let Some((index, entry)) = waiting.next() else { break };
            if let Some(listed) = present.get(&chunk_name(&entry.hash)) {
                let length = u64::from(entry.length);
                hold.check()?;
                checking.push(async move {
                    let there = keeps(shared, container, listed, length).await?;
                    PortResult::Ok((there, index, length))
                });
            }
        }
        match checking.next().await {
            Some(found) => {
                let (there, index, length) = found?;
                if there && done.insert(index) {
                    bytes += length;
                }
            }
            None => return Ok((done, bytes)),
        }
    }
}

/// Whether a listed chunk is whole and stays.
async fn keeps(shared: &Shared, container: &Container, listed: &BlobListed, length: u64) -> PortResult<bool> {
    if listed.length == length {
        return rely_on(&shared.ports, container, listed, shared.settings.renew_after).await;
    }
    tracing::warn!(store = %container, chunk = listed.name, length = listed.length, "a chunk is not whole: it is replaced");
    discard(&shared.ports, container, listed).await?;
    Ok(false)
}

struct StoreDestination<'a> {
    blobs: &'a dyn BlobStore,
    container: Container,
    requests: usize,
}

impl Destination for StoreDestination<'_> {
    fn account(&self) -> &AccountName {
        &self.container.account
    }

    fn requests(&self) -> usize {
        self.requests
    }

    /// A blob is written once, whoever is first: of two requests one finds it there.
    async fn put(&self, entry: &ChunkEntry, source: &BlobAddress) -> PortResult<u64> {
        let length = u64::from(entry.length);
        let range = SourceRange { blob: source.clone(), range: 0..length, crc64: entry.crc64() };
        match self.blobs.put_blob_from(&self.container.chunk(&entry.hash), &range).await {
            Ok(()) => Ok(length),
            // Its name is the hash of its bytes, so whoever wrote it wrote the same.
            Err(error) if error.kind == ErrorKind::AlreadyExists => Ok(0),
            Err(error) => Err(error),
        }
    }
}
