//! What is done under a lease.

mod base;
mod copy;
mod image;
mod prepare;
mod seed;
mod transfer;

use std::sync::Arc;

use goldfleet_shared::governor::Governor;
use goldfleet_shared::model::operation::{Operation, Work};
use goldfleet_shared::ports::Ports;

use crate::availability::Availability;
use crate::detour::Detours;
use crate::hold::Hold;
use crate::manifests::Manifests;
use crate::settings::Settings;
use crate::vitals::Vitals;

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

/// Runs the step that an operation asks for.
///
/// # Errors
/// [`StepError`] where it was stopped or the attempt failed.
pub async fn run(shared: &Shared, hold: &Hold, operation: &Operation) -> Result<Outcome, StepError> {
    match &operation.work {
        Work::Seed { store, from } => seed::run(shared, hold, operation, store, from).await,
        Work::Copy { target, from } => copy::run(shared, hold, operation, target, from).await,
        Work::Image { target, name, os, generation } => {
            let place = (target, shared.ports.vhd(target, &operation.image));
            let spec = image::spec(operation, place, name, *os, *generation, shared.settings.storage_type);
            image::run(shared, hold, operation, &spec).await
        }
    }
}
