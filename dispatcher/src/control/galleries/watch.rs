//! The check of all published versions: at each pass of the reconciler, each version is read, and regions that somebody removed
//! are added again. Foreign regions are named and kept.

use std::collections::BTreeSet;

use futures::{StreamExt as _, stream};
use goldfleet_galleries::publication::Publication;
use goldfleet_kinds::publish::pass::{Passed, Watch, pass};
use goldfleet_kinds::publish::record;
use goldfleet_model::ids::JobId;

use super::{control_error, publications};
use crate::control::context::{ControlContext, ControlError, MAX_IN_FLIGHT};

/// Checks all published versions. Returns their number.
///
/// # Errors
/// If the records cannot be read, or if no version could be checked. An error of one version only is logged, and does not
/// delay the others.
pub async fn watch(control: &ControlContext) -> Result<usize, ControlError> {
    let all = publications(control).await?;
    let is_watched = |publication: &Publication| publication.created && !publication.gone;
    let watched: Vec<Publication> = all.into_iter().filter(is_watched).collect();
    let count = watched.len();
    let open: BTreeSet<JobId> = match count {
        0 => BTreeSet::new(),
        _ => control.ports.table.open_jobs().await?.into_iter().map(|job| job.value.id).collect(),
    };
    let open = &open;
    let checks = stream::iter(watched).map(|publication| async move { check(control, &publication, open).await });
    let results: Vec<Result<(), ControlError>> = checks.buffered(MAX_IN_FLIGHT).collect().await;
    let mut failed: Vec<ControlError> = results.into_iter().filter_map(Result::err).collect();
    match failed.pop() {
        Some(error) if failed.len() + 1 == count => Err(error),
        _ => Ok(count),
    }
}

async fn check(
    control: &ControlContext,
    publication: &Publication,
    open: &BTreeSet<JobId>,
) -> Result<(), ControlError> {
    let spec = &publication.spec;
    // The workers of an open job try its versions.
    let trials = !open.contains(&spec.job);
    let watch = Watch { ports: &control.ports, spec, ensure: &|| Ok(()), trials, take_out: None };
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
            record::update(&control.ports, spec, |publication| publication.gone = true).await?;
        }
        Passed::Later(error) => tracing::debug!(version = %spec.version, %error, "the service is busy"),
        Passed::Report(report) if !report.foreign.is_empty() => {
            tracing::debug!(version = %spec.version, regions = report.foreign.join(", "), "foreign regions are kept");
        }
        Passed::Report(_) => {}
    }
    Ok(())
}
