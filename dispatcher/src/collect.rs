//! Collecting chunks that nothing names any more.
//!
//! What keeps it from taking a chunk that someone is about to rely on:
//! - only chunks older than the grace period are looked at, as they were listed at the beginning;
//! - whoever relies on a chunk older than half of it (an upload, a seed) renews it first, and a chunk is deleted only in
//!   the version that was listed;
//! - an upload in progress keeps every chunk that was written or renewed since half a grace period before it began: it
//!   relies on no older one without renewing it. Both ages are told by the uploader's clock, so they agree whatever the
//!   other clocks say;
//! - an upload that is not among the rows when they are read writes its row, and then lists its chunks, later than they
//!   were listed here: what is looked at here it finds too old, and renews;
//! - an upload whose row is a grace period old is over. One that only slept notices at half of that, and begins its list
//!   anew before (and, if it slept just then, after) it writes its manifest;
//! - manifests are read last, after the list and the uploads: an upload that ended meanwhile has its manifest there.
//!
//! The clocks of uploaders, stores and whoever collects may thus differ by nearly half a grace period.

use std::collections::{BTreeSet, HashSet};

use futures::future::join_all;
use goldfleet_config::targets::TargetsFile;
use goldfleet_model::manifest::{CHUNKS, MANIFESTS, Manifest, chunk_name};
use goldfleet_model::store::{Container, Store};
use goldfleet_model::upload::{Upload, UploadState};
use goldfleet_ports::blob_store::BlobListed;
use goldfleet_ports::chunk_store::list;
use goldfleet_ports::clock::before;
use goldfleet_ports::error::{ErrorKind, PortError, PortResult};
use jiff::Timestamp;

use crate::desk::{Desk, DeskError, IN_FLIGHT};

/// What a collection did.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Collected {
    /// Stores looked at.
    pub stores: usize,
    /// Chunks there were.
    pub chunks: usize,
    /// Chunks deleted.
    pub deleted: usize,
    /// Their bytes.
    pub deleted_bytes: u64,
    /// Stores of which something was left, as they could not be looked at or refused.
    pub failed: Vec<FailedStore>,
}

/// A store that could not be collected.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct FailedStore {
    /// The store.
    pub store: Container,
    /// What the service said.
    pub error: String,
}

impl Collected {
    fn fail(&mut self, store: Container, error: &PortError) {
        self.failed.push(FailedStore { store, error: error.to_string() });
    }
}

/// Deletes, in every store, the chunks that no manifest names and that are old enough. A store that fails (an account that
/// is gone) keeps no other from being collected: [`Collected::failed`] names it.
///
/// # Errors
/// [`DeskError`] where a manifest can't be read or the table or the source can't be reached: nothing is deleted then.
pub async fn collect(desk: &Desk) -> Result<Collected, DeskError> {
    let begun = desk.ports.clock.now();
    let mut collected = Collected::default();
    let mut candidates: Vec<(Container, Vec<BlobListed>)> = Vec::new();
    for store in stores(desk).await? {
        match list(desk.ports.blobs.as_ref(), &store, CHUNKS).await {
            Ok(chunks) => {
                collected.stores += 1;
                collected.chunks += chunks.len();
                candidates.push((store, chunks));
            }
            Err(error) => collected.fail(store, &error),
        }
    }
    let before = oldest_to_keep(desk, begun).await?;
    candidates.iter_mut().for_each(|(_, chunks)| chunks.retain(|chunk| chunk.modified < before));
    if candidates.iter().all(|(_, chunks)| chunks.is_empty()) {
        return Ok(collected);
    }
    let named = named_chunks(desk).await?;
    for (store, mut chunks) in candidates {
        chunks.retain(|chunk| !named.contains(&chunk.name));
        if let Err(error) = delete_all(desk, &store, &chunks, &mut collected).await {
            collected.fail(store, &error);
        }
    }
    Ok(collected)
}

/// Deletes chunks of one store, and begins no more of them once one can't be deleted.
async fn delete_all(
    desk: &Desk,
    store: &Container,
    chunks: &[BlobListed],
    collected: &mut Collected,
) -> PortResult<()> {
    for some in chunks.chunks(IN_FLIGHT) {
        let mut result = Ok(());
        for deleted in join_all(some.iter().map(|chunk| delete(desk, store, chunk))).await {
            match deleted {
                Ok(bytes) => {
                    collected.deleted += usize::from(bytes.is_some());
                    collected.deleted_bytes += bytes.unwrap_or(0);
                }
                Err(error) => result = Err(error),
            }
        }
        result?;
    }
    Ok(())
}

/// Every container that may hold chunks: the configured ones, and the stores of all jobs' trees.
async fn stores(desk: &Desk) -> Result<BTreeSet<Container>, DeskError> {
    let mut stores = configured_stores(desk);
    for job in desk.ports.table.jobs().await? {
        stores.extend(job.value.stores());
    }
    Ok(stores)
}

/// The containers that may hold chunks, whatever jobs there were: the source, and those the targets file names.
pub(crate) fn configured_stores(desk: &Desk) -> BTreeSet<Container> {
    let mut stores = BTreeSet::from([desk.config.source.store().container()]);
    if let Ok(file) = TargetsFile::load(&desk.config.targets.file) {
        stores.extend(file.stores.iter().map(Store::container));
    }
    stores
}

/// Chunks written or renewed since then are kept: a grace period ago, or half of one before the oldest upload in progress
/// began. An upload that gave no sign of life for a grace period is over.
async fn oldest_to_keep(desk: &Desk, now: Timestamp) -> PortResult<Timestamp> {
    let grace = desk.config.cleanup.chunk_grace.get();
    let ago = before(now, grace);
    let uploads = desk.ports.table.uploads().await?;
    let running = uploads.iter().filter(|upload| upload.state == UploadState::Running && upload.updated > ago);
    // What is younger than this when an upload begins, it need not renew: see the top.
    let relied_on = |upload: &Upload| before(upload.started, grace / 2);
    Ok(running.map(relied_on).chain([ago]).min().unwrap_or(ago))
}

/// The names of all chunks that a manifest names.
async fn named_chunks(desk: &Desk) -> Result<HashSet<String>, DeskError> {
    let source = desk.config.source.store().container();
    let mut named = HashSet::new();
    for listed in list(desk.ports.blobs.as_ref(), &source, MANIFESTS).await? {
        let blob = source.blob(listed.name.as_str());
        let bytes = desk.ports.blobs.get(&blob, None).await?;
        let manifest = Manifest::decode(&bytes)
            .map_err(|error| DeskError::Refused(format!("nothing was deleted, as {blob} can't be read: {error}")))?;
        named.extend(manifest.chunks.iter().map(|chunk| chunk_name(&chunk.hash)));
    }
    Ok(named)
}

async fn delete(desk: &Desk, store: &Container, chunk: &BlobListed) -> PortResult<Option<u64>> {
    match desk.ports.blobs.delete(&store.blob(chunk.name.as_str()), Some(&chunk.etag)).await {
        Ok(existed) => Ok(existed.then_some(chunk.length)),
        // Renewed since it was listed: someone relies on it.
        Err(error) if error.kind == ErrorKind::Conflict => Ok(None),
        Err(error) => Err(error),
    }
}
