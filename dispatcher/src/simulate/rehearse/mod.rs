//! Rehearsals: a job on a modelled cloud, in virtual time, by the dispatcher, consumer and steps that do the real ones.
//!
//! [`rehearse`] runs the job, then the same for the one target that is farthest away, and compares both with the plan's
//! estimate, which is a lower bound. [`baseline`] has what other ways would take on the same model.

pub mod baseline;
mod fleet;
mod report;
mod run;
#[cfg(test)]
mod tests;

use std::io;
use std::time::Instant;

use goldfleet_config::Config;
use goldfleet_config::targets::TargetsFile;
use goldfleet_model::ids::Region;
use goldfleet_model::image::ImageRef;
use goldfleet_model::manifest::Manifest;
use goldfleet_model::target::Target;
use goldfleet_plan::Inventory;
use goldfleet_ports::error::PortError;
use goldfleet_rates::Rates;

use crate::control::context::ControlError;

pub use fleet::{config, manifest, targets};
pub use report::{EstimateSummary, FilledStore, Link, Report, Share, SingleTarget};
pub use run::{RunResult, run_rehearsal};

/// What is rehearsed.
#[derive(Debug, Clone)]
pub struct Rehearsal {
    /// Source, worker and dispatch settings. Coordination and cloud are passed over.
    pub config: Config,
    /// The targets, and the stores that are set by hand.
    pub targets: TargetsFile,
    /// Chunks of the version that lie in stores already.
    pub held: Inventory,
    /// Versions that are rolled out before, oldest first: their chunks lie in stores then, and their VHDs at targets.
    pub before: Vec<(ImageRef, Manifest)>,
    /// The version that is rolled out.
    pub image: (ImageRef, Manifest),
    /// What the cloud keeps to, and plans are made with.
    pub rates: Rates,
    /// How many workers there are; none for as many as it takes to work on all targets at once.
    pub workers: Option<usize>,
    /// Decides what is left to chance.
    pub seed: u64,
}

/// Why a rehearsal did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum RehearsalError {
    /// There is nothing to rehearse.
    #[error("no enabled target is selected that lacks this version: 'goldfleet targets list' shows what there is")]
    NoTargets,
    /// A name or number that can't be.
    #[error("{0}")]
    Invalid(String),
    /// The job's table or queue.
    #[error(transparent)]
    Desk(#[from] ControlError),
    /// Files that the dispatcher reads.
    #[error("a rehearsal's files can't be written: {0}")]
    Io(#[from] io::Error),
    /// It never ended.
    #[error("after {0} days of virtual time the job has not ended")]
    TimedOut(u64),
}

impl From<PortError> for RehearsalError {
    fn from(error: PortError) -> Self {
        Self::Desk(error.into())
    }
}

impl Rehearsal {
    /// How many workers there are.
    #[must_use]
    pub fn workers(&self) -> usize {
        let operations = self.targets.targets.len() + self.regions().len();
        self.workers.unwrap_or_else(|| operations.div_ceil(self.config.worker.concurrency.max(1))).max(1)
    }

    /// The regions with targets, in order.
    #[must_use]
    pub fn regions(&self) -> Vec<&Region> {
        let mut regions: Vec<&Region> = self.targets.targets.iter().map(|target| &target.region).collect();
        regions.sort_unstable();
        regions.dedup();
        regions
    }

    /// The target that is hardest to reach: by the slowest link, and of those by the longest round trip.
    #[must_use]
    pub fn slowest_target(&self) -> Option<&Target> {
        let source = &self.config.source.region;
        self.targets.targets.iter().max_by(|a, b| {
            let measure = |target: &Target| {
                let remote = target.region != *source;
                let wan = self.rates.wan(source, &target.region);
                (remote, std::cmp::Reverse(wan), self.rates.round_trip(source, &target.region))
            };
            measure(a).cmp(&measure(b))
        })
    }

    /// The same for one target alone. What was rolled out before was so there too.
    #[must_use]
    pub fn for_single_target(&self, target: &Target) -> Self {
        let stores = self.targets.stores.clone();
        Self { targets: TargetsFile { targets: vec![target.clone()], stores }, ..self.clone() }
    }
}

/// Rehearses a job. It must not be called from inside a runtime.
///
/// # Errors
/// [`RehearsalError`].
pub fn rehearse(rehearsal: &Rehearsal) -> Result<Report, RehearsalError> {
    let began = Instant::now();
    let farthest = rehearsal.slowest_target().ok_or(RehearsalError::NoTargets)?;
    let played = run_rehearsal(rehearsal)?;
    let single = if rehearsal.targets.targets.len() == 1 {
        played.last_image
    } else {
        // With just as many workers, so that messages wait no longer to be received.
        let alone = Rehearsal { workers: Some(rehearsal.workers()), ..rehearsal.for_single_target(farthest) };
        run_rehearsal(&alone)?.last_image
    };
    let single = SingleTarget { target: farthest.key().to_string(), seconds: single.as_secs_f64() };
    Ok(Report::new(rehearsal, &played, single, began.elapsed()))
}
