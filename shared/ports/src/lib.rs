//! The ports: everything goldfleet asks of the world, as traits. The adapters behind them are crates of their own.
//!
//! - [`backoff`], [`commit`], [`retry`] and [`chunk_store`] are helpers over the ports.
//! - `conformance`, behind the feature of that name, holds one suite for each port. Every adapter passes it.

pub mod backoff;
pub mod blob_store;
pub mod chunk_store;
pub mod clock;
pub mod commit;
#[cfg(feature = "conformance")]
pub mod conformance;
pub mod error;
pub mod image_plane;
pub mod inspector;
pub mod job_table;
pub mod queue;
pub mod retry;
pub mod rng;
pub mod timeout;

use std::sync::Arc;

use goldfleet_model::image::ImageRef;
use goldfleet_model::store::BlobAddress;
use goldfleet_model::target::Target;

use blob_store::BlobStore;
use clock::Clock;
use image_plane::ImageService;
use job_table::JobTable;
use queue::Queue;

/// All ports of a process. `goldfleet-connect` chooses their adapters from the configuration.
#[derive(Clone)]
pub struct Ports {
    /// Messages.
    pub queue: Arc<dyn Queue>,
    /// Jobs, operations, events.
    pub table: Arc<dyn JobTable>,
    /// Chunks, manifests, VHDs.
    pub blobs: Arc<dyn BlobStore>,
    /// Managed images.
    pub images: Arc<dyn ImageService>,
    /// Time.
    pub clock: Arc<dyn Clock>,
}

impl Ports {
    /// Where a target's VHD of an image version lies.
    #[must_use]
    pub fn vhd(&self, target: &Target, image: &ImageRef) -> BlobAddress {
        target.staging().blob(self.images.vhd_names().name(image))
    }
}

impl std::fmt::Debug for Ports {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ports")
    }
}

/// A version mark of a row or blob: opaque, compared only for equality.
#[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct ETag(pub String);

/// A value and the mark of the version that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versioned<T> {
    /// The value.
    pub value: T,
    /// The mark to show when changing it.
    pub etag: ETag,
}
