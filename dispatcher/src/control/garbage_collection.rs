//! Garbage collection of chunks that no version refers to.
//!
//! These rules prevent the deletion of a chunk on which another process will rely:
//! - Only chunks older than the grace period are considered, by the list that was read at the start.
//! - A process that relies on a chunk older than half the grace period (an upload, or a seed) renews the chunk first. A
//!   chunk is deleted only if its ETag is the listed one.
//! - An upload in progress protects every chunk that was written or renewed later than half a grace period before the
//!   upload started: the upload relies on no older chunk without renewing it. Both ages are measured with the
//!   uploader's clock, so they agree even if other clocks differ.
//! - An upload whose row does not exist yet when the rows are read writes its row, and then lists its chunks, after the
//!   collection listed them. It finds every chunk that the collection considers too old, and renews it.
//! - An upload whose row is one grace period old counts as ended. An upload that was only suspended detects this after
//!   half a grace period, and lists its chunks again before it writes its manifest (and again after the write, if it
//!   was suspended during it).
//! - Artifact records and manifests are read last, after the chunks and the uploads. The record of an upload that ended
//!   in the meantime is among them.
//! - A manifest that no record names is deleted under the same rules as a chunk: an upload renews it, too.
//! - Nothing is deleted unless it is certain that all records were found: see [`crate::control::live`].
//!
//! The clocks of uploaders, stores and the collecting process may therefore differ by nearly half a grace period.

use std::collections::BTreeSet;

use futures::future::join_all;
use goldfleet_config::Config;
use goldfleet_config::targets::TargetsFile;
use goldfleet_model::hash::ChunkHash;
use goldfleet_model::job::Job;
use goldfleet_model::manifest::CHUNKS;
use goldfleet_model::store::{Container, Store};
use goldfleet_model::upload::{Upload, UploadState};
use goldfleet_ports::blob_store::ListedBlob;
use goldfleet_ports::chunk_store::list;
use goldfleet_ports::clock::before;
use goldfleet_ports::error::{ErrorKind, PortError, PortResult};
use goldfleet_ports::{Ports, Versioned};
use jiff::Timestamp;

use crate::control::context::{ControlContext, ControlError, MAX_IN_FLIGHT};
use crate::control::live::{LiveSet, LiveSetError, Roots};

/// The options of a collection.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CollectOptions {
    /// Only find out what would be deleted.
    pub dry_run: bool,
    /// Source stores whose versions were all deleted by the operator. The collection continues if such a store has no
    /// manifests, and if such a store, other than the configured one, is missing or cannot be reached. Manifests that
    /// it contains still count.
    pub given_up: BTreeSet<Container>,
}

/// The result of a collection, or of a dry run.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct CollectionReport {
    /// Whether this is the result of a dry run.
    pub dry_run: bool,
    /// The number of stores that were listed.
    pub stores: usize,
    /// The number of chunks in these stores.
    pub chunks: usize,
    /// The number of chunks that no manifest refers to and that are old enough to be deleted.
    pub garbage: usize,
    /// The total size of these chunks in bytes.
    pub garbage_bytes: u64,
    /// The number of deleted chunks: 0 in a dry run, and less than `garbage` if a chunk was renewed in the meantime or
    /// could not be deleted.
    pub deleted: usize,
    /// The total size of the deleted chunks in bytes.
    pub deleted_bytes: u64,
    /// The number of blobs under `chunks/` whose names are not chunk names. They are kept.
    pub foreign: usize,
    /// The number of manifests that no version has and that are old enough to be deleted: of deleted versions, and of
    /// uploads that never completed.
    pub manifests: usize,
    /// The same numbers for each listed store.
    pub by_store: Vec<CollectedStore>,
    /// Stores that could not be listed, or in which a chunk could not be deleted.
    pub failed: Vec<StoreFailure>,
}

/// The result for one store. The numbers are those of [`CollectionReport`].
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct CollectedStore {
    /// The store.
    pub store: Container,
    /// The number of chunks.
    pub chunks: usize,
    /// The number of chunks that may be deleted.
    pub garbage: usize,
    /// Their size in bytes.
    pub garbage_bytes: u64,
    /// The number of deleted chunks.
    pub deleted: usize,
    /// Their size in bytes.
    pub deleted_bytes: u64,
    /// The number of blobs that are not chunks.
    pub foreign: usize,
}

/// A store that could not be collected.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct StoreFailure {
    /// The store.
    pub store: Container,
    /// The error of the service.
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

/// Deletes, in every store, the chunks that no manifest refers to and that are old enough. The failure of a region's
/// store (for example because its account no longer exists) does not stop the collection of others:
/// [`CollectionReport::failed`] names it.
///
/// # Errors
/// [`ControlError::LiveSet`] if it is not certain which chunks are in use, and [`ControlError`] if the targets file or
/// the table cannot be read. Nothing is deleted in these cases.
pub async fn collect_garbage(
    control: &ControlContext,
    options: &CollectOptions,
) -> Result<CollectionReport, ControlError> {
    let begun = control.ports.clock.now();
    let mut collected = CollectionReport { dry_run: options.dry_run, ..CollectionReport::default() };
    // A store that only the targets file names may be the source store of another configuration.
    let targets = TargetsFile::load(&control.config.targets.file)?;
    let configured = control.config.source.store().container();
    let mut roots = Roots {
        sources: BTreeSet::from([configured.clone()]),
        others: targets.stores.iter().map(Store::container).collect(),
        configured,
        given_up: options.given_up.clone(),
    };
    add_jobs(&mut roots, &control.ports.table.jobs().await?);
    let listed = list_all(&control.ports, &mut roots, &mut collected).await?;

    let keep_since = cutoff(&control.ports, &control.config, begun).await?;
    // Read the jobs again: a job may have been planned in the meantime, and its tree may name another source.
    let jobs = control.ports.table.jobs().await?;
    roots.sources.extend(jobs.iter().flat_map(|job| job.value.sources()));
    let holder = listed.iter().find(|listed| !listed.chunks.is_empty()).map(|listed| &listed.store);
    let live = LiveSet::read(&control.ports, &roots, holder).await?;
    live.check_covers(&control.jobs, jobs.iter().map(|job| &job.value)).await?;

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
            && let Err(error) = delete_all(&control.ports, &garbage, &mut one).await
        {
            collected.fail(one.store.clone(), &error);
        }
        collected.add(one);
    }
    delete_manifests(&control.ports, &live, keep_since, &mut collected).await;
    Ok(collected)
}

/// Deletes manifests that no version has and that are old enough. In a dry run, they are only counted.
async fn delete_manifests(ports: &Ports, live: &LiveSet, keep_since: Timestamp, collected: &mut CollectionReport) {
    for (store, manifest) in live.unnamed().iter().filter(|(_, manifest)| manifest.modified < keep_since) {
        collected.manifests += 1;
        if !collected.dry_run
            && let Err(error) = delete_unchanged(ports, store, manifest).await
        {
            collected.fail(store.clone(), &error);
        }
    }
}

/// Adds the stores in the trees of jobs.
fn add_jobs(roots: &mut Roots, jobs: &[Versioned<Job>]) {
    for job in jobs {
        roots.sources.extend(job.value.sources());
        roots.others.extend(job.value.stores());
    }
}

/// A blob whose name is exactly a chunk name.
struct Chunk {
    hash: ChunkHash,
    blob: ListedBlob,
}

/// The blobs under `chunks/` in a store.
struct Listed {
    store: Container,
    chunks: Vec<Chunk>,
    /// The number of blobs that are not chunks.
    foreign: usize,
}

/// Lists the chunks of every store. A region's store that cannot be listed is excluded from the collection.
async fn list_all(
    ports: &Ports,
    roots: &mut Roots,
    collected: &mut CollectionReport,
) -> Result<Vec<Listed>, LiveSetError> {
    let mut all = Vec::new();
    for store in roots.sources.union(&roots.others.clone()).cloned().collect::<Vec<_>>() {
        match list(ports.blobs.as_ref(), &store, CHUNKS).await {
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

/// Separates chunks from other blobs under the same prefix.
fn sort_out(store: Container, blobs: Vec<ListedBlob>) -> Listed {
    let total = blobs.len();
    let chunk = |blob: ListedBlob| Some(Chunk { hash: blob.name.strip_prefix(CHUNKS)?.parse().ok()?, blob });
    let chunks: Vec<Chunk> = blobs.into_iter().filter_map(chunk).collect();
    let foreign = total - chunks.len();
    Listed { store, chunks, foreign }
}

/// Deletes chunks of one store. Stops after the first batch in which a chunk cannot be deleted.
async fn delete_all(ports: &Ports, garbage: &[ListedBlob], one: &mut CollectedStore) -> PortResult<()> {
    for some in garbage.chunks(MAX_IN_FLIGHT) {
        let mut result = Ok(());
        for deleted in join_all(some.iter().map(|chunk| delete_unchanged(ports, &one.store, chunk))).await {
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

/// The containers that may have chunks independently of jobs: the source store, and the stores in the targets file.
pub(crate) fn configured_stores(config: &Config) -> BTreeSet<Container> {
    let mut stores = BTreeSet::from([config.source.store().container()]);
    if let Ok(file) = TargetsFile::load(&config.targets.file) {
        stores.extend(file.stores.iter().map(Store::container));
    }
    stores
}

/// The time since which written or renewed chunks are kept: one grace period ago, or half a grace period before the
/// start of the oldest upload in progress. An upload that has not updated its row for a grace period has ended.
async fn cutoff(ports: &Ports, config: &Config, now: Timestamp) -> PortResult<Timestamp> {
    let grace = config.cleanup.chunk_grace.get();
    let ago = before(now, grace);
    let uploads = ports.table.uploads().await?;
    let running = uploads.iter().filter(|upload| upload.state == UploadState::Running && upload.updated > ago);
    // An upload does not renew chunks that are younger than this when it starts: see the module documentation.
    let relied_on = |upload: &Upload| before(upload.started, grace / 2);
    Ok(running.map(relied_on).chain([ago]).min().unwrap_or(ago))
}

/// Deletes a blob if it has not changed since it was listed. Returns its length if it was deleted.
async fn delete_unchanged(ports: &Ports, store: &Container, listed: &ListedBlob) -> PortResult<Option<u64>> {
    match ports.blobs.delete(&store.blob(listed.name.as_str()), Some(&listed.etag)).await {
        Ok(existed) => Ok(existed.then_some(listed.length)),
        // It was renewed after it was listed: another process relies on it.
        Err(error) if error.kind == ErrorKind::Conflict => Ok(None),
        Err(error) => Err(error),
    }
}
