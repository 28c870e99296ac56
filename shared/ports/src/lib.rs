//! The ports: traits for everything that goldfleet needs from its environment. Each adapter is its own crate.
//!
//! - [`backoff`], [`commit`], [`retry`] and [`chunk_store`] are helpers that use the ports.
//! - `conformance`, enabled by the feature of that name, has one suite per port. Every adapter passes it.

pub mod backoff;
pub mod blob_store;
pub mod chunk_store;
pub mod clock;
pub mod commit;
#[cfg(feature = "conformance")]
pub mod conformance;
pub mod disk_access;
pub mod disk_content;
pub mod disk_pages;
pub mod error;
pub mod inspector;
pub mod job_table;
pub mod linked_put;
pub mod listing;
pub mod liveness;
pub mod pages;
pub mod providers;
pub mod queue;
pub mod records;
pub mod resource_locks;
pub mod resources;
pub mod retry;
pub mod rng;
pub mod timeout;

use std::sync::Arc;
use std::time::Duration;

use goldfleet_model::artifact::DiskRole;
use goldfleet_model::image::ImageRef;
use goldfleet_model::store::BlobAddress;
use goldfleet_model::target::Target;

use blob_store::BlobStore;
use clock::Clock;
use disk_access::DiskAccess;
use disk_pages::DiskPages;
use error::{PortError, PortResult};
use job_table::JobTable;
use liveness::Liveness;
use queue::Queue;
use records::Records;
use resource_locks::ResourceLocks;
use resources::ResourceService;

/// All ports of a process. `goldfleet-connect` chooses their adapters from the configuration.
#[derive(Clone)]
pub struct Ports {
    /// The queues of messages.
    pub queue: Arc<dyn Queue>,
    /// The table of jobs, operations and events.
    pub table: Arc<dyn JobTable>,
    /// Named records in the same table.
    pub records: Arc<dyn Records>,
    /// The store of chunks, manifests and VHDs.
    pub blobs: Arc<dyn BlobStore>,
    /// The resources in Resource Manager: managed images, disks and snapshots.
    pub resources: Arc<dyn ResourceService>,
    /// Management locks on resources.
    pub locks: Arc<dyn ResourceLocks>,
    /// Access to the content of managed disks and snapshots.
    pub disk_access: Arc<dyn DiskAccess>,
    /// Writes to the content of managed disks.
    pub disk_pages: Arc<dyn DiskPages>,
    /// Which processes have ended without releasing their work.
    pub liveness: Arc<dyn Liveness>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The longest wait that a service may ask for within one call of [`Ports::retry`]. Commands wait as long as a
    /// service asks. The dispatcher has other work to do, and repeats the call later.
    pub longest_wait: Duration,
}

impl Ports {
    /// Calls `request`, and repeats it while its error is transient: see [`retry::retry_within`].
    ///
    /// # Errors
    /// The error of the last try.
    pub async fn retry<T, F, Fut>(&self, request: F) -> PortResult<T>
    where
        F: FnMut() -> Fut,
        Fut: Future<Output = PortResult<T>>,
    {
        retry::retry_within(self.clock.as_ref(), self.longest_wait, PortError::is_retryable, request).await
    }

    /// The address of the VHD of a disk of an image version in a target's staging account.
    #[must_use]
    pub fn vhd(&self, target: &Target, image: &ImageRef, role: DiskRole) -> BlobAddress {
        target.staging().blob(self.resources.vhd_names().name(&image.name, &image.version, role))
    }
}

impl std::fmt::Debug for Ports {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ports")
    }
}

/// The version of a row or blob. It is opaque and only compared for equality.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct ETag(pub String);

/// A value and the ETag of the version that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versioned<T> {
    /// The value.
    pub value: T,
    /// The ETag to pass when the value is changed.
    pub etag: ETag,
}
