//! Disks that are created from gallery versions.

use std::time::Duration;

use goldfleet_model::resource::{ResourceBody, ResourceId, VersionRef};
use goldfleet_ports::clock::elapsed;
use goldfleet_ports::resources::emulation::galleries::NOT_IN_REGION;

use crate::attempt_error::AttemptError;
use crate::change::poll_delay;
use crate::context::Attempt;
use crate::outcome::{StepError, StepOutcome, StepResult};
use crate::snapshot::TEMPORARY_MISSING;

/// How long a version may be unusable after its replication is complete. The service reports the end of a replication
/// minutes before the version can be used in the region; how many is not documented.
const MAX_LAG: Duration = Duration::from_secs(3600);

/// The outcome after an error at the creation of a disk. If the version exists, the step waits for it. `is_temporary`
/// is whether the job created the version.
pub(super) async fn refused(
    attempt: Attempt<'_>,
    (id, body): (&ResourceId, &ResourceBody),
    is_temporary: bool,
    error: AttemptError,
) -> StepResult {
    let data = body.properties.disk().map(|disk| &disk.creation_data);
    let version = data.and_then(|data| VersionRef::of_source(data.gallery_image_reference.as_ref()?));
    let Some((version, _)) = version.filter(|_| error.code == NOT_IN_REGION) else { return Err(error.into()) };
    if let VersionRef::Own(version) = &version
        && attempt.shared.ports.resources.get(version, None).await?.is_none()
    {
        let code = if is_temporary { TEMPORARY_MISSING } else { "source-gone" };
        return Err(AttemptError::fatal(code, format!("{id}: {version} does not exist")).into());
    }
    let now = attempt.shared.ports.clock.now();
    let since = attempt.operation.started.map_or(Duration::ZERO, |started| elapsed(started, now));
    if since > MAX_LAG {
        return Err(StepError::Failed(AttemptError { retryable: false, ..error }));
    }
    tracing::info!(%version, "the version cannot be used in the region yet");
    Ok(StepOutcome::RequeueAfter(poll_delay(attempt, false)))
}
