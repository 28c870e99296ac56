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
//! - manifests are read last, after the list and the uploads: an upload that ended meanwhile has its manifest there;
//! - nothing is deleted where it is not certain that all manifests were found: see [`crate::control::live`].
//!
//! The clocks of uploaders, stores and whoever collects may thus differ by nearly half a grace period.

use std::collections::BTreeSet;

use futures::future::join_all;
use goldfleet_config::targets::TargetsFile;
use goldfleet_model::hash::ChunkHash;
use goldfleet_model::job::Job;
use goldfleet_model::manifest::CHUNKS;
use goldfleet_model::store::{Container, Store};
use goldfleet_model::upload::{Upload, UploadState};
use goldfleet_ports::Versioned;
use goldfleet_ports::blob_store::ListedBlob;
use goldfleet_ports::chunk_store::list;
use goldfleet_ports::clock::before;
use goldfleet_ports::error::{ErrorKind, PortError, PortResult};
use jiff::Timestamp;

use crate::control::context::{ControlContext, ControlError, MAX_IN_FLIGHT};
use crate::control::live::{LiveSet, LiveSetError, Roots};

/// How to collect.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CollectOptions {
    /// Only find out what would be deleted.
    pub dry_run: bool,
    /// Source stores all of whose versions the operator has given up: the collection goes on if such a store has no
    /// manifests, and if one that is not the configured one is missing or cannot be reached. Manifests that it has count all
    /// the same.
    pub given_up: BTreeSet<Container>,
}

/// What a collection did, or would do.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct CollectionReport {
    /// Whether it only found out what would be deleted.
    pub dry_run: bool,
    /// Stores that were listed.
    pub stores: usize,
    /// Chunks in them.
    pub chunks: usize,
    /// Chunks that no manifest names and that are old enough to be deleted.
    pub garbage: usize,
    /// Their bytes.
    pub garbage_bytes: u64,
    /// Chunks deleted: none in a dry run, and fewer than `garbage` where one was renewed meanwhile or could not be deleted.
    pub deleted: usize,
    /// Their bytes.
    pub deleted_bytes: u64,
    /// Blobs under `chunks/` whose names are not those of chunks. They stay.
    pub foreign: usize,
    /// The same numbers for each store that was listed.
    pub by_store: Vec<CollectedStore>,
    /// Stores that could not be listed, or in which a chunk could not be deleted.
    pub failed: Vec<StoreFailure>,
}

/// What was found and done in one store. The numbers are those of [`CollectionReport`].
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct CollectedStore {
    /// The store.
    pub store: Container,
    /// Chunks.
    pub chunks: usize,
    /// Chunks that may be deleted.
    pub garbage: usize,
    /// Their bytes.
    pub garbage_bytes: u64,
    /// Chunks deleted.
    pub deleted: usize,
    /// Their bytes.
    pub deleted_bytes: u64,
    /// Blobs that are not chunks.
    pub foreign: usize,
}

/// A store that could not be collected.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct StoreFailure {
    /// The store.
    pub store: Container,
    /// What the service said.
    pub error: String,
}

impl CollectionReport {
    fn fail(&mut self, store: Container, error: &PortError) {
        self.failed.push(StoreFailure { store, error: error.to_string() });
    }

    fn add(&mut self, one: CollectedStore) {
        self.stores += 1;
        self.chunks += one.chunks;
        self.garbage += one.garbage;
        self.garbage_bytes += one.garbage_bytes;
        self.deleted += one.deleted;
        self.deleted_bytes += one.deleted_bytes;
        self.foreign += one.foreign;
        self.by_store.push(one);
    }
}

/// Deletes, in every store, the chunks that no manifest names and that are old enough. A region's store that fails (an
/// account that is gone) does not stop the others from being collected: [`CollectionReport::failed`] names it.
///
/// # Errors
/// [`ControlError::LiveSet`] where it is not certain which chunks are in use, and [`ControlError`] where the targets file or the
/// table cannot be read: nothing is deleted then.
pub async fn collect_garbage(
    control: &ControlContext,
    options: &CollectOptions,
) -> Result<CollectionReport, ControlError> {
    let begun = control.ports.clock.now();
    let mut collected = CollectionReport { dry_run: options.dry_run, ..CollectionReport::default() };
    // A store that only the targets file names may be the source of another configuration.
    let targets = TargetsFile::load(&control.config.targets.file)?;
    let configured = control.config.source.store().container();
    let mut roots = Roots {
        sources: BTreeSet::from([configured.clone()]),
        others: targets.stores.iter().map(Store::container).collect(),
        configured,
        given_up: options.given_up.clone(),
    };
    add_jobs(&mut roots, &control.ports.table.jobs().await?);
    let listed = list_all(control, &mut roots, &mut collected).await?;

    let keep_since = cutoff(control, begun).await?;
    // Again, as a job may have been planned since: its tree may name another source.
    let jobs = control.ports.table.jobs().await?;
    roots.sources.extend(jobs.iter().flat_map(|job| job.value.sources()));
    let holder = listed.iter().find(|listed| !listed.chunks.is_empty()).map(|listed| &listed.store);
    let live = LiveSet::read(control, &roots, holder).await?;
    live.check_covers(control, jobs.iter().map(|job| &job.value)).await?;

    for Listed { store, chunks, foreign } in listed {
        let all = chunks.len();
        let is_garbage = |chunk: &Chunk| chunk.blob.modified < keep_since && !live.contains(&chunk.hash);
        let garbage: Vec<ListedBlob> = chunks.into_iter().filter(is_garbage).map(|chunk| chunk.blob).collect();
        let mut one = CollectedStore {
            store,
            chunks: all,
            garbage: garbage.len(),
            garbage_bytes: garbage.iter().map(|blob| blob.length).sum(),
            deleted: 0,
            deleted_bytes: 0,
            foreign,
        };
        if !options.dry_run
            && let Err(error) = delete_all(control, &garbage, &mut one).await
        {
            collected.fail(one.store.clone(), &error);
        }
        collected.add(one);
    }
    Ok(collected)
}

/// Adds the stores of jobs' trees.
fn add_jobs(roots: &mut Roots, jobs: &[Versioned<Job>]) {
    for job in jobs {
        roots.sources.extend(job.value.sources());
        roots.others.extend(job.value.stores());
    }
}

/// A blob whose name is exactly that of a chunk.
struct Chunk {
    hash: ChunkHash,
    blob: ListedBlob,
}

/// What a store has under `chunks/`.
struct Listed {
    store: Container,
    chunks: Vec<Chunk>,
    /// How many blobs are not chunks.
    foreign: usize,
}

/// Lists the chunks of every store. A region's store that cannot be listed is left out of the collection.
async fn list_all(
    control: &ControlContext,
    roots: &mut Roots,
    collected: &mut CollectionReport,
) -> Result<Vec<Listed>, LiveSetError> {
    let mut all = Vec::new();
    for store in roots.sources.union(&roots.others.clone()).cloned().collect::<Vec<_>>() {
        match list(control.ports.blobs.as_ref(), &store, CHUNKS).await {
            Ok(blobs) => all.push(sort_out(store, blobs)),
            Err(error) if roots.needs(&store) => return Err(LiveSetError::unlisted(&store, error)),
            Err(error) => {
                roots.others.remove(&store);
                if !roots.may_be_gone(&store) {
                    collected.fail(store, &error);
                }
            }
        }
    }
    Ok(all)
}

/// Tells the chunks from blobs that somebody else has put beside them.
fn sort_out(store: Container, blobs: Vec<ListedBlob>) -> Listed {
    let total = blobs.len();
    let chunk = |blob: ListedBlob| Some(Chunk { hash: blob.name.strip_prefix(CHUNKS)?.parse().ok()?, blob });
    let chunks: Vec<Chunk> = blobs.into_iter().filter_map(chunk).collect();
    let foreign = total - chunks.len();
    Listed { store, chunks, foreign }
}

/// Deletes chunks of one store, and begins no more of them once one cannot be deleted.
async fn delete_all(control: &ControlContext, garbage: &[ListedBlob], one: &mut CollectedStore) -> PortResult<()> {
    for some in garbage.chunks(MAX_IN_FLIGHT) {
        let mut result = Ok(());
        for deleted in join_all(some.iter().map(|chunk| delete(control, &one.store, chunk))).await {
            match deleted {
                Ok(bytes) => {
                    one.deleted += usize::from(bytes.is_some());
                    one.deleted_bytes += bytes.unwrap_or(0);
                }
                Err(error) => result = Err(error),
            }
        }
        result?;
    }
    Ok(())
}

/// The containers that may hold chunks, whatever jobs there were: the source, and those the targets file names.
pub(crate) fn configured_stores(control: &ControlContext) -> BTreeSet<Container> {
    let mut stores = BTreeSet::from([control.config.source.store().container()]);
    if let Ok(file) = TargetsFile::load(&control.config.targets.file) {
        stores.extend(file.stores.iter().map(Store::container));
    }
    stores
}

/// Chunks written or renewed since then are kept: a grace period ago, or half of one before the oldest upload in progress
/// began. An upload that gave no sign of life for a grace period is over.
async fn cutoff(control: &ControlContext, now: Timestamp) -> PortResult<Timestamp> {
    let grace = control.config.cleanup.chunk_grace.get();
    let ago = before(now, grace);
    let uploads = control.ports.table.uploads().await?;
    let running = uploads.iter().filter(|upload| upload.state == UploadState::Running && upload.updated > ago);
    // What is younger than this when an upload begins, it need not renew: see the top.
    let relied_on = |upload: &Upload| before(upload.started, grace / 2);
    Ok(running.map(relied_on).chain([ago]).min().unwrap_or(ago))
}

async fn delete(control: &ControlContext, store: &Container, chunk: &ListedBlob) -> PortResult<Option<u64>> {
    match control.ports.blobs.delete(&store.blob(chunk.name.as_str()), Some(&chunk.etag)).await {
        Ok(existed) => Ok(existed.then_some(chunk.length)),
        // Renewed since it was listed: someone relies on it.
        Err(error) if error.kind == ErrorKind::Conflict => Ok(None),
        Err(error) => Err(error),
    }
}
