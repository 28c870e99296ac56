//! Rehearsals: a job on the modelled cloud in virtual time, with the real dispatcher, consumer and steps.
//!
//! [`rehearse`] runs the job, then the same job for the one target that is farthest away, and compares both with the
//! plan's estimate, which is a lower bound. Then it runs the job by the route `region`, which also publishes to
//! galleries. [`sync`] rehearses a sync of snapshots. [`baseline`] computes the times of other methods on the same
//! model.

pub mod baseline;
mod engine;
mod fleet;
mod report;
mod run;
pub mod sync;
#[cfg(test)]
mod tests;

use std::io;
use std::time::Instant;

use goldfleet_config::targets::{Hub, TargetsFile};
use goldfleet_config::{Config, UploadRoute};
use goldfleet_model::artifact::LoadedVersion;
use goldfleet_model::ids::Region;
use goldfleet_model::store::Store;
use goldfleet_model::target::Target;
use goldfleet_plan::Inventory;
use goldfleet_ports::error::PortError;
use goldfleet_rates::Rates;
use goldfleet_snapshots::id::GroupRef;

use crate::control::context::ControlError;

pub use fleet::{config, targets, version};
pub use report::{EstimateSummary, FilledStore, GalleryReport, Link, Report, RouteReport, Share, SingleTarget};
pub use run::{RunResult, run_rehearsal};

/// The parameters of a rehearsal.
#[derive(Debug, Clone)]
pub struct Rehearsal {
    /// The settings of source, worker and dispatcher. Coordination and cloud are ignored.
    pub config: Config,
    /// The targets, and the configured stores.
    pub targets: TargetsFile,
    /// Chunks of the version that stores already have.
    pub held: Inventory,
    /// Versions that are rolled out first, in this order. Their chunks are then in stores and their VHDs at targets.
    pub before: Vec<LoadedVersion>,
    /// The version to roll out.
    pub image: LoadedVersion,
    /// The limits of the modelled cloud, and the rates for planning.
    pub rates: Rates,
    /// The number of workers. None for as many as are needed to work on all targets at the same time.
    pub workers: Option<usize>,
    /// The seed of all random values.
    pub seed: u64,
    /// How the version reaches the targets.
    pub route: UploadRoute,
}

/// Why a rehearsal failed.
#[derive(Debug, thiserror::Error)]
pub enum RehearsalError {
    /// There are no targets.
    #[error("no enabled target is selected that lacks this version: 'goldfleet targets list' shows what there is")]
    NoTargets,
    /// A name or number is not valid.
    #[error("{0}")]
    Invalid(String),
    /// A command on the job failed.
    #[error(transparent)]
    Desk(#[from] ControlError),
    /// The files for the dispatcher could not be written or read.
    #[error("a rehearsal's files cannot be written: {0}")]
    Io(#[from] io::Error),
    /// The job did not end within the time limit.
    #[error("after {0} days of virtual time the job has not ended")]
    TimedOut(u64),
}

impl From<PortError> for RehearsalError {
    fn from(error: PortError) -> Self {
        Self::Desk(error.into())
    }
}

impl Rehearsal {
    /// The number of workers.
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

    /// The target that is hardest to reach: the one with the slowest link, and among equal links the one with the
    /// longest round trip.
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

    /// The same rehearsal by the route `region`. Each region of a target or gallery that has no hub gets one, and
    /// missing image definitions are created.
    #[must_use]
    pub fn by_region(&self) -> Self {
        let mut targets = self.targets.clone();
        for target in &self.targets.targets {
            add_hub(&mut targets, &target.region, target.into(), Some(target.store()));
        }
        for gallery in &self.targets.galleries {
            add_hub(&mut targets, &gallery.region, gallery.place(), store_of_hub(&gallery.region));
        }
        targets.galleries.iter_mut().for_each(|gallery| gallery.create_definition = true);
        Self { targets, route: UploadRoute::Region, ..self.clone() }
    }

    /// The same rehearsal for one target only, including the versions that are rolled out first.
    #[must_use]
    pub fn for_single_target(&self, target: &Target) -> Self {
        let stores = self.targets.stores.clone();
        Self {
            targets: TargetsFile {
                targets: vec![target.clone()],
                stores,
                hubs: self.targets.hubs.clone(),
                ..TargetsFile::default()
            },
            ..self.clone()
        }
    }
}

/// Makes a resource group the hub of a region that has none, with a store.
fn add_hub(targets: &mut TargetsFile, region: &Region, group: GroupRef, store: Option<Store>) {
    if targets.hubs.contains_key(region) {
        return;
    }
    targets.hubs.insert(region.clone(), Hub { group, disk_encryption_set: None });
    if !targets.stores.iter().any(|store| store.region == *region) {
        targets.stores.extend(store);
    }
}

/// A store in a region that has neither a target nor a store.
fn store_of_hub(region: &Region) -> Option<Store> {
    let account: String = format!("hub{region}").chars().filter(char::is_ascii_alphanumeric).take(24).collect();
    Some(Store { region: region.clone(), account: account.parse().ok()?, container: "golden".parse().ok()? })
}

/// Rehearses a job. It must not be called from inside an async runtime.
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
        // Use the same number of workers, so that the wait for messages is the same.
        let alone = Rehearsal { workers: Some(rehearsal.workers()), ..rehearsal.for_single_target(farthest) };
        run_rehearsal(&alone)?.last_image
    };
    let single = SingleTarget { target: farthest.key().to_string(), seconds: single.as_secs_f64() };
    let mut routes = vec![RouteReport::new(UploadRoute::Staging, &played)];
    let region = run_rehearsal(&rehearsal.by_region())?;
    // The route cannot reach targets in other tenants, for example. Then no operation was planned.
    routes.extend((region.operations > 0).then(|| RouteReport::new(UploadRoute::Region, &region)));
    let galleries = region.galleries.iter().map(GalleryReport::from).collect();
    Ok(Report::new(rehearsal, &played, single, (routes, galleries), began.elapsed()))
}
