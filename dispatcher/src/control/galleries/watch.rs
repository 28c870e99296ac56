//! The check of published versions: at each pass of the reconciler, versions are read, and regions that somebody
//! removed are added again. Foreign regions are named and kept.

use std::collections::BTreeSet;

use futures::{StreamExt as _, stream};
use goldfleet_galleries::publication::Publication;
use goldfleet_galleries::rota::{Rota, Watched};
use goldfleet_kinds::publish::pass::{Passed, Watch, pass};
use goldfleet_kinds::publish::record;
use goldfleet_model::ids::JobId;
use goldfleet_ports::Ports;
use goldfleet_ports::error::ErrorKind;

use super::{Recorded, control_error, recorded};
use crate::control::context::{ControlContext, ControlError, MAX_IN_FLIGHT};

/// The largest number of versions that a pass checks. Each check is a read of Resource Manager, which permits 25 per
/// second and subscription after a burst of 250 (source: `[resource_manager]` of the rates); workers need them too.
pub const MAX_CHECKS: usize = 100;

/// Checks published versions, as many as a single pass permits. Returns the number of checked versions.
///
/// # Errors
/// As [`watch_next`].
pub async fn watch(control: &ControlContext) -> Result<usize, ControlError> {
    watch_next(control, &mut Rota::default(), MAX_CHECKS).await
}

/// Checks at most `limit` published versions, starting where the last pass ended. Returns their number. Removes records
/// that are not needed any more.
///
/// # Errors
/// If the records cannot be read, or if no version could be checked. An error of one version only is logged, and does
/// not delay the others.
pub async fn watch_next(control: &ControlContext, rota: &mut Rota, limit: usize) -> Result<usize, ControlError> {
    let all = recorded(&control.ports).await?;
    let open: BTreeSet<JobId> = match all.len() {
        0 => BTreeSet::new(),
        _ => {
            let open = control.ports.table.list_open_jobs().await?;
            let unreadable = open.unreadable.iter().filter_map(|row| row.id.parse().ok());
            open.rows.iter().map(|job| job.value.id.clone()).chain(unreadable).collect()
        }
    };
    let (obsolete, kept): (Vec<Recorded>, Vec<Recorded>) = all
        .into_iter()
        .partition(|recorded| recorded.publication.is_obsolete() && !open.contains(&recorded.publication.spec.job));
    for recorded in &obsolete {
        forget(&control.ports, recorded).await?;
    }
    let existing = kept.iter().filter(|recorded| !recorded.publication.is_obsolete());
    let watched: Vec<Watched<'_>> = existing
        .map(|recorded| Watched {
            name: recorded.name.as_str(),
            is_underway: !recorded.publication.not_ready().is_empty() || recorded.publication.trial,
        })
        .collect();
    let chosen: BTreeSet<String> = rota.next(&watched, limit).into_iter().map(str::to_owned).collect();
    let count = chosen.len();
    let is_chosen = |recorded: &Recorded| chosen.contains(recorded.name.as_str());
    let due: Vec<Publication> = kept.into_iter().filter(is_chosen).map(|recorded| recorded.publication).collect();
    let open = &open;
    let checks = stream::iter(due).map(|publication| async move { check(&control.ports, &publication, open).await });
    let results: Vec<Result<(), ControlError>> = checks.buffered(MAX_IN_FLIGHT).collect().await;
    let mut failed: Vec<ControlError> = results.into_iter().filter_map(Result::err).collect();
    match failed.pop() {
        Some(error) if failed.len() + 1 == count => Err(error),
        _ => Ok(count),
    }
}

/// Removes the record of a version that was never created or does not exist any more, unless a job has written it
/// since.
async fn forget(ports: &Ports, recorded: &Recorded) -> Result<(), ControlError> {
    match ports.records.remove(&recorded.name, &recorded.etag).await {
        Err(error) if error.kind == ErrorKind::Conflict => Ok(()),
        removed => {
            removed?;
            tracing::info!(version = %recorded.publication.spec.version, "its record is removed");
            Ok(())
        }
    }
}

async fn check(ports: &Ports, publication: &Publication, open: &BTreeSet<JobId>) -> Result<(), ControlError> {
    let spec = &publication.spec;
    // The workers of an open job create the trial disks of its versions.
    let trials = !open.contains(&spec.job);
    let watch = Watch { ports, spec, ensure: &|| Ok(()), trials, take_out: None };
    let passed = match pass(watch).await.map_err(control_error) {
        Ok(passed) => passed,
        Err(error) => {
            tracing::warn!(version = %spec.version, %error, "a gallery version could not be checked");
            return Err(error);
        }
    };
    match passed {
        Passed::Absent => {
            tracing::warn!(version = %spec.version, "a published gallery version was deleted; it is not checked any more");
            record::update(ports, spec, |publication| publication.gone = true).await?;
        }
        Passed::Later(error) => tracing::debug!(version = %spec.version, %error, "the service is busy"),
        Passed::Report(report) if !report.foreign.is_empty() => {
            tracing::debug!(version = %spec.version, regions = report.foreign.join(", "), "foreign regions are kept");
        }
        Passed::Report(_) => {}
    }
    Ok(())
}
