//! The kind `seed`: fills a region's store once over the WAN with the chunks that it lacks.

mod unproven;

use std::collections::HashSet;

use async_trait::async_trait;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use goldfleet_model::artifact::{DiskRef, DiskRole};
use goldfleet_model::chunk_set::ChunkSet;
use goldfleet_model::ids::AccountName;
use goldfleet_model::manifest::{ChunkEntry, Manifest, chunk_name};
use goldfleet_model::message::QueueName;
use goldfleet_model::operation::{GroupId, Operation, OperationId};
use goldfleet_model::store::{BlobAddress, Container, Store};
use goldfleet_ports::Ports;
use goldfleet_ports::blob_store::{ListedBlob, SourceRange};
use goldfleet_ports::chunk_store::{self, delete_listed, is_whole, renew_if_old, was_damaged};
use goldfleet_ports::error::{ErrorKind, PortResult};
use serde::{Deserialize, Serialize};

use crate::context::{Attempt, StepContext, read_spec, source_of};
use crate::kind::{Kind, Probe, Transfer, Verification};
use crate::outcome::{StepError, StepOutcome};
use crate::transfer::manifest_cache::{ManifestCache, ManifestLoadError};
use crate::transfer::{Destination, transfer_chunks};
use crate::writers::{WriterId, add_record, remove_record};

/// The kind `seed`.
pub struct Seed;

/// The specification of a `seed` operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeedSpec {
    /// The disk whose chunks fill the store.
    #[serde(flatten)]
    pub disk: DiskRef,
    /// The store to fill.
    pub store: Store,
    /// The stores to read from: the planned parent first, then its parents up to the source.
    pub from: Vec<Store>,
}

/// The id of the operation that fills a store with the chunks of a disk. A job has at most one for each store and disk.
#[must_use]
pub fn operation_id(store: &Store, disk: DiskRole) -> OperationId {
    let (account, container) = (store.account.as_str(), store.container.as_str());
    let group = match disk {
        DiskRole::Os => GroupId::of(&format!("{}-{account}", store.region), &[account, container]),
        DiskRole::Data(_) => {
            GroupId::of(&format!("{}-{account}-{disk}", store.region), &[account, container, &disk.to_string()])
        }
    };
    OperationId::new(group, "seed")
}

#[async_trait]
impl Kind for Seed {
    fn id(&self) -> &'static str {
        "seed"
    }

    fn queue(&self) -> QueueName {
        QueueName::Seed
    }

    fn title(&self) -> &'static str {
        "Stores filled"
    }

    fn produces(&self, operation: &Operation) -> Option<String> {
        let spec: SeedSpec = read_spec(operation).ok()?;
        Some(spec.store.container().to_string())
    }

    fn disk(&self, operation: &Operation) -> Option<DiskRole> {
        read_spec::<SeedSpec>(operation).ok().map(|spec| spec.disk.role)
    }

    fn transfer(&self, operation: &Operation) -> Option<Transfer> {
        let SeedSpec { store, from, .. } = read_spec(operation).ok()?;
        Some(Transfer { fills: Some(store), from })
    }

    fn verification(&self, _ports: &Ports, operation: &Operation) -> Verification {
        match read_spec::<SeedSpec>(operation) {
            Ok(spec) => Verification::Store(spec.store),
            Err(_) => Verification::Probe,
        }
    }

    /// Lists the chunks of the store. Without the manifest, the probe can only distinguish an empty store from others.
    async fn probe(&self, ports: &Ports, operation: &Operation) -> PortResult<Probe> {
        let Ok(SeedSpec { disk, store, from }) = read_spec(operation) else { return Ok(Probe::Foreign) };
        let (Ok(source), Some(image)) = (source_of(&from), &operation.image) else { return Ok(Probe::Foreign) };
        let cache = ManifestCache::default();
        let manifest = match cache.get(ports.blobs.as_ref(), source, image, &disk).await {
            Ok(manifest) => manifest,
            Err(ManifestLoadError::Missing(_)) => return Ok(Probe::Stale),
            Err(ManifestLoadError::Unavailable(error)) => return Err(error),
        };
        let present = chunk_store::list_chunks(ports.blobs.as_ref(), &store.container()).await?;
        let has = |entry: &&ChunkEntry| present.contains_key(&chunk_name(&entry.hash));
        Ok(match manifest.chunks.iter().filter(has).count() {
            0 if !manifest.chunks.is_empty() => Probe::Absent,
            count if count == manifest.chunks.len() => Probe::Done,
            _ => Probe::Underway,
        })
    }

    async fn run(&self, attempt: Attempt<'_>) -> Result<StepOutcome, StepError> {
        fill(attempt, &attempt.spec()?).await
    }
}

/// Fills a store.
async fn fill(attempt: Attempt<'_>, SeedSpec { disk, store, from }: &SeedSpec) -> Result<StepOutcome, StepError> {
    let (blobs, container) = (attempt.blobs(), store.container());
    let manifest = attempt.manifest(source_of(from)?, disk).await?;
    let recorded = &attempt.operation.progress.done;
    let is_begun = recorded.len() == manifest.chunk_count() && recorded.count() > 0;
    if !is_begun {
        blobs.ensure_container(&container).await?;
    }
    let writer = WriterId::of(attempt.operation);
    add_record(&attempt.shared.ports, &container, &writer).await?;
    if !is_begun {
        let (done, bytes) = existing_chunks(attempt, &container, &manifest).await?;
        attempt.lease.set_progress(None, done, bytes, manifest.data_bytes());
    }
    let requests = attempt.shared.settings.seed_requests;
    let destination = StoreDestination { ports: &attempt.shared.ports, container, requests };
    let outcome = transfer_chunks(attempt, &manifest, from, &destination).await?;
    if outcome == StepOutcome::Done {
        remove_record(&attempt.shared.ports, &destination.container, &writer).await;
    }
    Ok(outcome)
}

/// The chunks that the store has from earlier jobs and other images. Old chunks are renewed, so that a garbage
/// collection in progress does not delete them. Chunks with a wrong length are deleted, so that correct ones can
/// replace them.
///
/// Chunks that another seed or an upload, or an interrupted attempt of this one, may have written and not proven are
/// read back.
async fn existing_chunks(
    attempt: Attempt<'_>,
    container: &Container,
    manifest: &Manifest,
) -> Result<(ChunkSet, u64), StepError> {
    let Attempt { shared, lease, .. } = attempt;
    let listed_at = shared.ports.clock.now();
    let mut present = chunk_store::list_chunks(attempt.blobs(), container).await?;
    let unproven = &unproven::unproven_chunks(attempt, container, &mut present, listed_at).await?;
    let mut done = ChunkSet::empty(manifest.chunk_count());
    let mut bytes = 0;
    let mut waiting = (0_u32..).zip(&manifest.chunks);
    let mut checking = FuturesUnordered::new();
    loop {
        while checking.len() < shared.settings.seed_requests {
            let Some((index, entry)) = waiting.next() else { break };
            if let Some(listed) = present.get(&chunk_name(&entry.hash)) {
                lease.ensure_held()?;
                checking.push(async move {
                    let there = is_intact(shared, container, listed, entry, unproven).await?;
                    PortResult::Ok((there, index, u64::from(entry.length)))
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

/// Whether a listed chunk is intact and is kept.
async fn is_intact(
    shared: &StepContext,
    container: &Container,
    listed: &ListedBlob,
    entry: &ChunkEntry,
    unproven: &HashSet<String>,
) -> PortResult<bool> {
    if listed.length == u64::from(entry.length) {
        // Before the chunk is renewed: afterwards its time does not show when it was written.
        if unproven.contains(&listed.name) && !is_whole(&shared.ports, container, entry).await? {
            return Ok(false);
        }
        return renew_if_old(&shared.ports, container, listed, shared.settings.renew_after).await;
    }
    tracing::warn!(store = %container, chunk = listed.name, length = listed.length, "a chunk has a wrong length: it is written again");
    delete_listed(&shared.ports, container, listed).await?;
    Ok(false)
}

struct StoreDestination<'a> {
    ports: &'a Ports,
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

    /// A blob is written only once: of two concurrent requests, the later one finds that it exists.
    async fn put(&self, entry: &ChunkEntry, source: &BlobAddress) -> PortResult<u64> {
        let whole = chunk_store::whole(&self.container, entry);
        let range = SourceRange { blob: source.clone(), ..whole.clone() };
        match self.ports.blobs.put_blob_from(&whole.blob, &range).await {
            Ok(()) => Ok(u64::from(entry.length)),
            // The name of the blob is the hash of its bytes, but its writer may not have verified them.
            Err(error) if error.kind == ErrorKind::AlreadyExists => {
                let whole = is_whole(self.ports, &self.container, entry).await?;
                if whole { Ok(0) } else { Err(was_damaged(&self.container, entry)) }
            }
            Err(error) => Err(error),
        }
    }
}
