//! What is done under a lease.

mod base;
mod copy;
mod image;
mod prepare;
mod seed;
mod transfer;
mod vhd;

use std::sync::Arc;

use goldfleet_model::image::VhdMetadata;
use goldfleet_model::manifest::Manifest;
use goldfleet_model::operation::{Operation, Work};
use goldfleet_model::store::{BlobAddress, Store};
use goldfleet_ports::Ports;
use goldfleet_ports::blob_store::{BlobProperties, BlobStore};
use goldfleet_runtime::governor::Governor;
use goldfleet_runtime::vitals::Vitals;

use crate::availability::Availability;
use crate::detour::Detours;
use crate::failed::Failed;
use crate::hold::Hold;
use crate::manifests::Manifests;
use crate::settings::Settings;

pub use crate::outcome::{Outcome, StepError};

/// What all steps of a process share.
#[derive(Clone)]
pub struct Shared {
    /// The world.
    pub ports: Ports,
    /// How this worker works.
    pub settings: Arc<Settings>,
    /// Requests in flight.
    pub governor: Governor,
    /// Manifests last used.
    pub manifests: Arc<Manifests>,
    /// What stores have.
    pub availability: Arc<Availability>,
    /// Which of them are slow or fail.
    pub detours: Arc<Detours>,
    /// What the process tells of itself.
    pub vitals: Vitals,
}

impl Shared {
    /// For a process with these ports and settings.
    #[must_use]
    pub fn new(ports: Ports, settings: Settings) -> Self {
        Self {
            governor: Governor::new(settings.requests, Arc::clone(&ports.clock)),
            detours: Arc::new(Detours::new(settings.detours)),
            ports,
            settings: Arc::new(settings),
            manifests: Arc::default(),
            availability: Arc::default(),
            vitals: Vitals::default(),
        }
    }

    /// The same for a process that tells others how it fares.
    #[must_use]
    pub fn with_vitals(self, vitals: Vitals) -> Self {
        Self { vitals, ..self }
    }
}

/// An attempt at an operation: what all steps share, the lease in hand, and the operation as it was claimed.
#[derive(Clone, Copy)]
struct Attempt<'a> {
    shared: &'a Shared,
    hold: &'a Hold,
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
fn source_of(from: &[Store]) -> Result<&Store, Failed> {
    // Plans name one always. Without one nothing could be done, which must not be taken for being done.
    from.last().ok_or_else(|| Failed::fatal("row-damaged", "the operation's row names no store to read from"))
}

/// The digest of the content that a VHD is of, or is to be; a failure where it is a blob that goldfleet did not make.
fn digest_of<'p>(vhd: &BlobAddress, properties: &'p BlobProperties) -> Result<&'p str, Failed> {
    let digest = properties.metadata.get(VhdMetadata::DIGEST).map(String::as_str);
    digest.ok_or_else(|| {
        let message = format!("{vhd} is in the way: a blob that goldfleet did not make; remove or rename it");
        Failed::fatal("vhd-foreign", message)
    })
}

/// Runs the step that an operation asks for.
///
/// # Errors
/// [`StepError`] where it was stopped or the attempt failed.
pub async fn run(shared: &Shared, hold: &Hold, operation: &Operation) -> Result<Outcome, StepError> {
    let attempt = Attempt { shared, hold, operation };
    match &operation.work {
        Work::Seed { store, from } => seed::run(attempt, store, from).await,
        Work::Copy { target, from } => copy::run(attempt, target, from).await,
        Work::Image { target, name, os, generation } => {
            image::run(attempt, &image::spec(attempt, target, name, *os, *generation)).await
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nowhere_to_read_from_is_not_everything_done() {
        let failed = source_of(&[]).unwrap_err();
        assert_eq!((failed.code.as_str(), failed.retryable), ("row-damaged", false));
    }
}
