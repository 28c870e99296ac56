//! What is done under a lease.

mod assemble;
mod base;
mod image;
mod prepare;
mod replicate;
mod transfer;
mod vhd;

use std::sync::Arc;

use goldfleet_model::image::VhdMetadata;
use goldfleet_model::manifest::Manifest;
use goldfleet_model::operation::{Operation, OperationSpec};
use goldfleet_model::store::{BlobAddress, Store};
use goldfleet_ports::Ports;
use goldfleet_ports::blob_store::{BlobProperties, BlobStore};
use goldfleet_runtime::health::Monitor;
use goldfleet_runtime::limiter::ConcurrencyLimiter;

use crate::attempt_error::AttemptError;
use crate::availability::ChunkAvailability;
use crate::failover::SourceSelector;
use crate::lease_guard::LeaseGuard;
use crate::manifest_cache::ManifestCache;
use crate::settings::WorkerSettings;

pub use crate::outcome::{StepError, StepOutcome};

/// What all steps of a process share.
#[derive(Clone)]
pub struct StepContext {
    /// The world.
    pub ports: Ports,
    /// How this worker works.
    pub settings: Arc<WorkerSettings>,
    /// Requests in flight.
    pub limiter: ConcurrencyLimiter,
    /// Manifests last used.
    pub manifests: Arc<ManifestCache>,
    /// What stores have.
    pub availability: Arc<ChunkAvailability>,
    /// Which of them are slow or fail.
    pub selector: Arc<SourceSelector>,
    /// What the process tells of itself.
    pub monitor: Monitor,
}

impl StepContext {
    /// For a process with these ports and settings.
    #[must_use]
    pub fn new(ports: Ports, settings: WorkerSettings) -> Self {
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

    /// The same for a process that tells others how it fares.
    #[must_use]
    pub fn with_monitor(self, monitor: Monitor) -> Self {
        Self { monitor, ..self }
    }
}

/// An attempt at an operation: what all steps share, the lease in hand, and the operation as it was claimed.
#[derive(Clone, Copy)]
struct Attempt<'a> {
    shared: &'a StepContext,
    lease: &'a LeaseGuard,
    operation: &'a Operation,
}

impl<'a> Attempt<'a> {
    fn blobs(&self) -> &'a dyn BlobStore {
        self.shared.ports.blobs.as_ref()
    }

    /// The manifest of the operation's version, from `source`.
    async fn manifest(&self, source: &Store) -> Result<Arc<Manifest>, StepError> {
        Ok(self.shared.manifests.get(self.blobs(), source, &self.operation.image).await?)
    }
}

/// The source store: the last of those that an operation may read from.
fn source_of(from: &[Store]) -> Result<&Store, AttemptError> {
    // Plans name one always. Without one nothing could be done, which must not be taken for being done.
    from.last().ok_or_else(|| AttemptError::fatal("row-damaged", "the operation's row names no store to read from"))
}

/// The digest of the content that a VHD is of, or is to be; a failure where it is a blob that goldfleet did not make.
fn digest_of<'p>(vhd: &BlobAddress, properties: &'p BlobProperties) -> Result<&'p str, AttemptError> {
    let digest = properties.metadata.get(VhdMetadata::DIGEST).map(String::as_str);
    digest.ok_or_else(|| {
        let message = format!("{vhd} is in the way: a blob that goldfleet did not make; remove or rename it");
        AttemptError::fatal("vhd-foreign", message)
    })
}

/// Runs the step that an operation asks for.
///
/// # Errors
/// [`StepError`] where it was stopped or the attempt failed.
pub async fn run(shared: &StepContext, lease: &LeaseGuard, operation: &Operation) -> Result<StepOutcome, StepError> {
    let attempt = Attempt { shared, lease, operation };
    match &operation.work {
        OperationSpec::Replicate { store, from } => replicate::run(attempt, store, from).await,
        OperationSpec::Assemble { target, from } => assemble::run(attempt, target, from).await,
        OperationSpec::Image { target, name, os, generation } => {
            image::run(attempt, &image::spec(attempt, target, name, *os, *generation)).await
        }
    }
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
