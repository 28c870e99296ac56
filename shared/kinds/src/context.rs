//! The inputs of a step: the context that all steps of a process share, the lease, and the operation as it was claimed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use goldfleet_model::artifact::DiskRef;
use goldfleet_model::document::Document;
use goldfleet_model::image::{Caching, ImageRef, StorageType, VhdMetadata};
use goldfleet_model::manifest::Manifest;
use goldfleet_model::operation::Operation;
use goldfleet_model::store::{BlobAddress, Store};
use goldfleet_model::target::Target;
use goldfleet_ports::Ports;
use goldfleet_ports::blob_store::{BlobProperties, BlobStore};
use goldfleet_runtime::health::Monitor;
use goldfleet_runtime::limiter::ConcurrencyLimiter;
use goldfleet_snapshots::graph::RowSpec;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::attempt_error::AttemptError;
use crate::lease::{Lease, StopReason};
use crate::outcome::StepError;
use crate::transfer::availability::ChunkAvailability;
use crate::transfer::failover::SourceSelector;
use crate::transfer::manifest_cache::ManifestCache;

/// The settings of steps.
#[derive(Debug, Clone)]
pub struct StepSettings {
    /// The time between heartbeats of the lease. A step that waits for something polls about as often.
    pub heartbeat: Duration,
    /// The maximum number of requests in flight of one `copy` operation.
    pub chunk_requests: usize,
    /// The maximum number of requests in flight of one `seed` operation. There are few of them, all `copy` operations
    /// of their region wait for them, and their requests take longer because they cross the WAN.
    pub seed_requests: usize,
    /// The maximum number of requests in flight in the process.
    pub requests: usize,
    /// Whether chunks are read from the next nearest store if a store is slow or keeps failing.
    pub detours: bool,
    /// Whether an assembly starts with a clone of an earlier version's VHD inside the staging account. No checksum
    /// proves what the service clones, so the worker reads back every byte that it does not write.
    pub clone_and_patch: bool,
    /// The age from which a chunk that a job needs is renewed, so that garbage collection does not delete it.
    pub renew_after: Duration,
    /// The storage type of the disks of images.
    pub storage_type: StorageType,
    /// The host's cache of the data disks of images.
    pub data_disk_caching: Caching,
    /// Further tags of each image. They never replace a tag of goldfleet.
    pub image_tags: BTreeMap<String, String>,
}

impl Default for StepSettings {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_secs(5),
            chunk_requests: 8,
            seed_requests: 16,
            requests: 256,
            detours: true,
            clone_and_patch: false,
            renew_after: Duration::from_secs(12 * 3600),
            storage_type: StorageType::default(),
            data_disk_caching: Caching::default(),
            image_tags: BTreeMap::new(),
        }
    }
}

/// The context that all steps of a process share.
#[derive(Clone)]
pub struct StepContext {
    /// The adapters.
    pub ports: Ports,
    /// The settings of steps.
    pub settings: Arc<StepSettings>,
    /// The limiter of requests in flight.
    pub limiter: ConcurrencyLimiter,
    /// The most recently used manifests.
    pub manifests: Arc<ManifestCache>,
    /// The cached contents of stores.
    pub availability: Arc<ChunkAvailability>,
    /// The selector of source stores, which knows which stores are slow or fail.
    pub selector: Arc<SourceSelector>,
    /// Health and metrics of the process.
    pub monitor: Monitor,
}

impl StepContext {
    /// Creates a context with these ports and settings.
    #[must_use]
    pub fn new(ports: Ports, settings: StepSettings) -> Self {
        Self {
            limiter: ConcurrencyLimiter::new(settings.requests, Arc::clone(&ports.clock)),
            selector: Arc::new(SourceSelector::new(settings.detours)),
            ports,
            settings: Arc::new(settings),
            manifests: Arc::default(),
            availability: Arc::default(),
            monitor: Monitor::default(),
        }
    }

    /// Returns the same context with another monitor.
    #[must_use]
    pub fn with_monitor(self, monitor: Monitor) -> Self {
        Self { monitor, ..self }
    }
}

/// An attempt at an operation.
#[derive(Clone, Copy)]
pub struct Attempt<'a> {
    /// The context that all steps share.
    pub shared: &'a StepContext,
    /// The lease of the operation.
    pub lease: &'a dyn Lease,
    /// The operation as it was claimed.
    pub operation: &'a Operation,
}

impl<'a> Attempt<'a> {
    /// The blob store.
    #[must_use]
    pub fn blobs(&self) -> &'a dyn BlobStore {
        self.shared.ports.blobs.as_ref()
    }

    /// Waits, and ends the wait early if the step must stop.
    ///
    /// # Errors
    /// The reason to stop.
    pub async fn pause(&self, wait: Duration) -> Result<(), StopReason> {
        tokio::select! {
            biased;
            stop = self.lease.stop_requested(&[StopReason::Drain, StopReason::Cancel, StopReason::Lost]) => Err(stop),
            () = self.shared.ports.clock.sleep(wait) => self.lease.ensure_held(),
        }
    }

    /// The target that the operation acts on.
    ///
    /// # Errors
    /// A fatal `row-damaged` if it has none.
    pub fn target(&self) -> Result<&'a Target, AttemptError> {
        let missing = || AttemptError::fatal("row-damaged", "the operation's row names no target");
        self.operation.target().ok_or_else(missing)
    }

    /// The image version that the operation serves.
    ///
    /// # Errors
    /// A fatal `row-damaged` if it has none.
    pub fn image(&self) -> Result<&'a ImageRef, AttemptError> {
        let missing = || AttemptError::fatal("row-damaged", "the operation's row names no image version");
        self.operation.image.as_ref().ok_or_else(missing)
    }

    /// The operation's specification.
    ///
    /// # Errors
    /// A fatal `row-damaged` if it cannot be read.
    pub fn spec<T: DeserializeOwned>(&self) -> Result<T, AttemptError> {
        read_spec(self.operation)
    }

    /// Loads the manifest of a disk of the operation's version from `source`.
    pub(crate) async fn manifest(&self, source: &Store, disk: &DiskRef) -> Result<Arc<Manifest>, StepError> {
        Ok(self.shared.manifests.get(self.blobs(), source, self.image()?, disk).await?)
    }
}

/// Creates version 1 of a specification, in the form in which a kind writes it to its rows.
#[must_use]
pub fn write_spec(spec: &impl Serialize) -> Document {
    // Specifications are plain structs with text keys. Their serialization does not fail.
    Document::new(1, spec).unwrap_or_default()
}

/// Parses version 1 of an operation's specification.
///
/// # Errors
/// A fatal `row-damaged` if it cannot be read.
pub fn read_spec<T: DeserializeOwned>(operation: &Operation) -> Result<T, AttemptError> {
    operation.spec.read(1).map_err(|error| {
        AttemptError::fatal("row-damaged", format!("the specification of operation {}: {error}", operation.id))
    })
}

/// Parses the row of a copy of snapshots, in each version of its specification up to `newest`. A version differs only
/// by what it can contain.
///
/// # Errors
/// As [`read_spec`].
pub(crate) fn read_row(operation: &Operation, newest: u16) -> Result<RowSpec, AttemptError> {
    operation.spec.read(operation.spec.v.clamp(1, newest)).map_err(|error| {
        AttemptError::fatal("row-damaged", format!("the specification of operation {}: {error}", operation.id))
    })
}

/// The source store: the last of the stores that an operation may read from.
pub(crate) fn source_of(from: &[Store]) -> Result<&Store, AttemptError> {
    // A plan always names a store. An operation without one cannot run, and must not count as done.
    from.last().ok_or_else(|| AttemptError::fatal("row-damaged", "the operation's row names no store to read from"))
}

/// The digest of the content that a VHD has or will have.
///
/// # Errors
/// A fatal `vhd-foreign` if goldfleet did not make the blob.
pub(crate) fn digest_of<'p>(vhd: &BlobAddress, properties: &'p BlobProperties) -> Result<&'p str, AttemptError> {
    let digest = properties.metadata.get(VhdMetadata::DIGEST).map(String::as_str);
    digest.ok_or_else(|| {
        let message = format!("{vhd} exists, and goldfleet did not create it: remove or rename it");
        AttemptError::fatal("vhd-foreign", message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_source_list_is_an_error() {
        let failed = source_of(&[]).unwrap_err();
        assert_eq!((failed.code.as_str(), failed.retryable), ("row-damaged", false));
    }
}
