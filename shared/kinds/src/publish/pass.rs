//! One pass over a gallery version: it reads the version, writes the required changes, and continues the trial disk in
//! the next region. Workers and the reconciler perform the same passes, and each can be repeated.
//!
//! The order of the writes matters. A region that is not complete is recorded as not ready before the version is
//! written, so that no later pass makes the version the latest one there.

use std::collections::BTreeMap;

use goldfleet_galleries::converge::{self, Existing, Reported, Wanted};
use goldfleet_galleries::publication::{Publication, RegionRecord};
use goldfleet_galleries::spec::PublishSpec;
use goldfleet_model::resource::{GalleryVersionProperties, ResourceBody, region_named};
use goldfleet_ports::Ports;
use goldfleet_ports::clock::elapsed;
use goldfleet_ports::error::{PortError, PortResult};
use goldfleet_ports::resources::{ChangeStatus, Provisioning, PutMode, PutRequest, Resource};
use jiff::Timestamp;

use super::{record, trial};
use crate::attempt_error::AttemptError;
use crate::change::must_wait;
use crate::lease::StopReason;
use crate::outcome::StepError;

/// The code of an existing version that is not changed.
pub(super) const FOREIGN: &str = "gallery-version-foreign";

/// Who makes a pass, and over what.
#[derive(Clone, Copy)]
pub struct Watch<'a> {
    /// The adapters.
    pub ports: &'a Ports,
    /// The version.
    pub spec: &'a PublishSpec,
    /// Checks before each change whether it may still be made.
    pub ensure: &'a (dyn Fn() -> Result<(), StopReason> + Sync),
    /// Whether the pass continues the trial of the version in the next region.
    pub trials: bool,
    /// A region to remove, because the replication to it failed.
    pub take_out: Option<&'a str>,
}

/// The result of a pass.
#[derive(Debug)]
pub enum Passed {
    /// The version does not exist.
    Absent,
    /// The service refused a change for now.
    Later(PortError),
    /// The version exists.
    Report(Report),
}

/// The state of a version.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// The state of each wanted region, by its programmatic name.
    pub regions: BTreeMap<String, RegionState>,
    /// The regions that others have added.
    pub foreign: Vec<String>,
    /// The wanted regions that the version lacked at the begin of the pass.
    pub added: Vec<String>,
    /// Whether another pass may find more at once.
    pub goes_on: bool,
}

/// The state of a region of a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RegionState {
    /// It was missing, and was requested again.
    Missing,
    /// It is replicated: the part that is done, in percent.
    Replicating(u32),
    /// The replication is complete, and the version cannot be used yet.
    Completed,
    /// A disk of the version was created there.
    Ready,
    /// The replication failed, for this reason.
    Failed(String),
    /// The version cannot be used there although it is complete, for this reason.
    Unusable(String),
}

impl Report {
    /// Whether the version is ready in all wanted regions.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.regions.values().all(|state| *state == RegionState::Ready)
    }

    /// Whether a region is neither ready nor failed.
    #[must_use]
    pub fn is_underway(&self) -> bool {
        let is_underway = |state: &RegionState| {
            matches!(state, RegionState::Missing | RegionState::Replicating(_) | RegionState::Completed)
        };
        self.regions.values().any(is_underway)
    }

    /// The regions that failed, with the reason.
    pub fn failed(&self) -> impl Iterator<Item = (&str, &str)> {
        self.regions.iter().filter_map(|(name, state)| match state {
            RegionState::Failed(reason) | RegionState::Unusable(reason) => Some((name.as_str(), reason.as_str())),
            _ => None,
        })
    }
}

/// Performs a pass.
///
/// # Errors
/// If a service refuses or cannot be reached, if the version is not ours, or if no change may be made any more.
pub async fn pass(watch: Watch<'_>) -> Result<Passed, StepError> {
    let Watch { ports, spec, .. } = watch;
    let Some(found) = ports.resources.get(&spec.version, None).await? else { return Ok(Passed::Absent) };
    if let Existing::Foreign(reason) = converge::classify(spec.fleet, &spec.image, &found.body) {
        return Err(AttemptError::fatal(FOREIGN, format!("{} exists, and {reason}", spec.version)).into());
    }
    let wanted = wanted(spec)?;
    let (wanted, existing) = (properties(&wanted)?, properties(&found.body)?);
    let added = converge::missing(wanted, existing);
    let publication = observe(ports, spec, wanted, &found).await?;
    let wants = Wanted {
        body: wanted,
        promoted: publication.promoted.is_some(),
        ready: &publication.ready(),
        taken_out: watch.take_out,
    };
    if let Some(body) = converge::change(wants, &found.body) {
        (watch.ensure)()?;
        if !added.is_empty() {
            tracing::warn!(version = %spec.version, regions = added.join(", "), "regions are missing and are added again");
        }
        match put(ports, spec, body).await {
            Err(error) if must_wait(&error) => return Ok(Passed::Later(error)),
            changed => changed?,
        }
    }
    let (publication, goes_on) = trial::run(watch, publication, existing).await?;
    let foreign = converge::foreign(wanted, existing);
    let regions = states(spec, &publication, wanted, &found, ports.clock.now());
    Ok(Passed::Report(Report { regions, foreign, added, goes_on }))
}

/// Writes a version. It does not wait for the replication: reads show its state.
async fn put(ports: &Ports, spec: &PublishSpec, body: ResourceBody) -> PortResult<()> {
    let request = PutRequest { id: spec.version.clone(), tenant: None, mode: PutMode::CreateOrUpdate, body };
    match ports.resources.put(&request).await? {
        ChangeStatus::Failed(error) => Err(error),
        ChangeStatus::Done | ChangeStatus::Pending(_) => Ok(()),
    }
}

pub(super) fn wanted(spec: &PublishSpec) -> Result<ResourceBody, AttemptError> {
    let damaged = |error| AttemptError::fatal("row-damaged", format!("the body of {}: {error}", spec.version));
    spec.version_body().map_err(damaged)
}

pub(super) fn properties(body: &ResourceBody) -> Result<&GalleryVersionProperties, AttemptError> {
    let damaged = || AttemptError::fatal("row-damaged", "the row publishes no gallery version");
    body.properties.gallery_version().ok_or_else(damaged)
}

/// Records what the service reports about the regions.
async fn observe(
    ports: &Ports,
    spec: &PublishSpec,
    wanted: &GalleryVersionProperties,
    found: &Resource,
) -> Result<Publication, StepError> {
    let existing = properties(&found.body)?;
    let now = ports.clock.now();
    let names: Vec<String> = wanted.regions().iter().map(|region| region_named(&region.name)).collect();
    let publication = record::update(ports, spec, |publication| {
        (publication.created, publication.gone) = (true, false);
        publication.regions.retain(|name, _| names.contains(name));
        for name in &names {
            let region = publication.regions.entry(name.clone()).or_default();
            match converge::reported(existing, name) {
                Reported::Missing => *region = RegionRecord::default(),
                Reported::Failed(reason) => {
                    *region = RegionRecord { problem: Some(reason), since: region.since, ..RegionRecord::default() };
                }
                // It was removed and added again between two passes if it was complete before.
                Reported::Replicating(_) => {
                    let known = region.since.filter(|_| !region.completed);
                    *region = RegionRecord { since: known.or(Some(now)), ..RegionRecord::default() };
                }
                Reported::Completed => {
                    region.since = region.since.or(Some(now));
                    region.completed = true;
                }
            }
        }
    });
    Ok(publication.await?)
}

/// The states of the wanted regions.
fn states(
    spec: &PublishSpec,
    publication: &Publication,
    wanted: &GalleryVersionProperties,
    found: &Resource,
    now: Timestamp,
) -> BTreeMap<String, RegionState> {
    let Some(existing) = found.body.properties.gallery_version() else { return BTreeMap::new() };
    let timeout = std::time::Duration::from_secs(spec.timeout_seconds);
    let state = |name: &str| {
        let known = publication.regions.get(name).cloned().unwrap_or_default();
        let is_late = known.since.is_some_and(|since| elapsed(since, now) > timeout);
        let late = || format!("it is not usable after {} hours", spec.timeout_seconds / 3600);
        match (converge::reported(existing, name), known.problem) {
            (Reported::Completed, _) if known.ready => RegionState::Ready,
            (Reported::Completed, Some(problem)) => RegionState::Unusable(problem),
            (Reported::Failed(reason), _) => RegionState::Failed(reason),
            (Reported::Missing, _) => RegionState::Missing,
            (Reported::Replicating(0), _) if found.provisioning == Provisioning::Failed => {
                RegionState::Failed("the service reports the version as failed".to_owned())
            }
            (_, _) if is_late => RegionState::Unusable(late()),
            (Reported::Replicating(percent), _) => RegionState::Replicating(percent),
            (Reported::Completed, None) => RegionState::Completed,
        }
    };
    let names = wanted.regions().iter().map(|region| region_named(&region.name));
    names.map(|name| (name.clone(), state(&name))).collect()
}
