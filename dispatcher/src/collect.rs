//! Collecting chunks that nothing names any more.
//!
//! What keeps it from taking a chunk that someone is about to rely on:
//! - only chunks older than the grace period are looked at, as they were listed at the beginning;
//! - whoever relies on a chunk older than half of it (an upload, a seed) renews it first, and a chunk is deleted only in
//!   the version that was listed;
//! - an upload in progress keeps every chunk that was written or renewed since it began;
//! - manifests are read last, after the list and the uploads: an upload that ended meanwhile has its manifest there.

use std::collections::{BTreeSet, HashSet};

use futures::{StreamExt as _, TryStreamExt as _};
use goldfleet_shared::chunk_store::{CHUNKS, list};
use goldfleet_shared::model::manifest::{Manifest, chunk_name};
use goldfleet_shared::model::store::{Container, Store};
use goldfleet_shared::model::upload::UploadState;
use goldfleet_shared::ports::blob_store::BlobListed;
use goldfleet_shared::ports::error::{ErrorKind, PortResult};
use goldfleet_shared::targets::TargetsFile;
use jiff::Timestamp;

use crate::desk::{Desk, DeskError, IN_FLIGHT};

/// What a collection did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Collected {
    /// Stores looked at.
    pub stores: usize,
    /// Chunks there were.
    pub chunks: usize,
    /// Chunks deleted.
    pub deleted: usize,
    /// Their bytes.
    pub deleted_bytes: u64,
}

/// Deletes, in every store, the chunks that no manifest names and that are old enough.
///
/// # Errors
/// [`DeskError`] where a manifest can't be read (nothing is deleted then) or a store can't be reached.
pub async fn collect(desk: &Desk) -> Result<Collected, DeskError> {
    let begun = desk.ports.clock.now();
    let stores = stores(desk).await?;
    let mut collected = Collected { stores: stores.len(), ..Collected::default() };
    let mut candidates: Vec<(Container, BlobListed)> = Vec::new();
    for store in stores {
        let chunks = list(desk.ports.blobs.as_ref(), &store, CHUNKS).await?;
        collected.chunks += chunks.len();
        candidates.extend(chunks.into_iter().map(|chunk| (store.clone(), chunk)));
    }
    let before = oldest_to_keep(desk, begun).await?;
    candidates.retain(|(_, chunk)| chunk.modified < before);
    if candidates.is_empty() {
        return Ok(collected);
    }
    let named = named_chunks(desk).await?;
    candidates.retain(|(_, chunk)| !named.contains(&chunk.name));
    let deleted: Vec<u64> = futures::stream::iter(candidates)
        .map(|(store, chunk)| async move { delete(desk, &store, &chunk).await })
        .buffer_unordered(IN_FLIGHT)
        .try_filter_map(|bytes| async move { Ok(bytes) })
        .try_collect()
        .await?;
    collected.deleted = deleted.len();
    collected.deleted_bytes = deleted.iter().sum();
    Ok(collected)
}

/// Every container that may hold chunks: the source, the stores of all jobs' trees, and those the targets file names.
async fn stores(desk: &Desk) -> Result<BTreeSet<Container>, DeskError> {
    let mut stores = BTreeSet::from([desk.config.source.store().container()]);
    for job in desk.ports.table.jobs().await? {
        let planned = job.value.tree.into_iter().flat_map(|tree| tree.stores);
        stores.extend(planned.map(|planned| planned.store.container()));
    }
    if let Ok(file) = TargetsFile::load(&desk.config.targets.file) {
        stores.extend(file.stores.iter().map(Store::container));
    }
    Ok(stores)
}

/// Chunks written or renewed since then are kept: the grace period, or the beginning of the oldest upload in progress. An
/// upload that gave no sign of life for a grace period is over.
async fn oldest_to_keep(desk: &Desk, now: Timestamp) -> PortResult<Timestamp> {
    let grace = desk.config.cleanup.chunk_grace.get();
    let ago = now.checked_sub(grace).unwrap_or(Timestamp::MIN);
    let uploads = desk.ports.table.uploads().await?;
    let running = uploads.iter().filter(|upload| upload.state == UploadState::Running && upload.updated > ago);
    Ok(running.map(|upload| upload.started).chain([ago]).min().unwrap_or(ago))
}

/// The names of all chunks that a manifest names.
async fn named_chunks(desk: &Desk) -> Result<HashSet<String>, DeskError> {
    let source = desk.config.source.store().container();
    let mut named = HashSet::new();
    for listed in list(desk.ports.blobs.as_ref(), &source, "manifests/").await? {
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
