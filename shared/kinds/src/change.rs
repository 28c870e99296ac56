//! Changes of resources, as the kinds that create and delete resources make them.

use std::time::Duration;

use goldfleet_model::resource::{LockId, ResourceBody, ResourceId};
use goldfleet_ports::clock::elapsed;
use goldfleet_ports::disk_access::wait_until_ended;
use goldfleet_ports::error::{ErrorKind, PortError, PortResult};
use goldfleet_ports::resources::{ChangeStatus, MachineAction, PutMode, PutRequest};

use crate::attempt_error::AttemptError;
use crate::context::Attempt;
use crate::outcome::{StepError, StepOutcome};

/// The number of heartbeats between two polls of content that arrives from another region, at its begin. With the
/// default heartbeat these are 30 seconds.
const FIRST_POLL: u32 = 6;

/// The largest number of heartbeats between two polls. With the default heartbeat these are 5 minutes.
const LAST_POLL: u32 = 60;

/// The part of the time since the begin of an operation that passes between two polls. A copy that takes hours is
/// therefore polled rarely, and the delay until its end is detected is short relative to its duration.
const POLL_PART: u32 = 10;

/// The result of a change.
#[derive(Debug)]
pub(crate) enum Changed {
    /// It took effect.
    Yes,
    /// A resource with that name exists.
    NameTaken,
    /// The service refused it for now: a resource is busy, or another copy of the same disk is running.
    Later(PortError),
}

/// Creates a resource, and waits until the change ends. An existing resource is not updated.
pub(crate) async fn create(attempt: Attempt<'_>, id: &ResourceId, body: ResourceBody) -> Result<Changed, StepError> {
    attempt.lease.ensure_held()?;
    let request = PutRequest { id: id.clone(), tenant: None, mode: PutMode::Create, body };
    let begun = attempt.shared.ports.resources.put(&request).await;
    result(follow_begun(attempt, begun).await?)
}

/// Deletes a resource, and waits until the change ends. A missing resource counts as deleted.
pub(crate) async fn delete(attempt: Attempt<'_>, id: &ResourceId) -> Result<Changed, StepError> {
    attempt.lease.ensure_held()?;
    let begun = attempt.shared.ports.resources.delete(id, None).await;
    match follow_begun(attempt, begun).await? {
        Err(error) if error.kind == ErrorKind::NotFound => Ok(Changed::Yes),
        ended => result(ended),
    }
}

/// Ends all access to the content of a disk or snapshot. After this, no earlier SAS permits writing to it.
pub(crate) async fn end_access(attempt: Attempt<'_>, id: &ResourceId) -> Result<(), StepError> {
    let (access, clock) = (attempt.shared.ports.disk_access.as_ref(), attempt.shared.ports.clock.as_ref());
    attempt.lease.ensure_held()?;
    let status = match access.end(id, None).await {
        // Nothing is left to end.
        Err(error) if error.kind == ErrorKind::NotFound => return Ok(()),
        status => status?,
    };
    Ok(wait_until_ended(access, clock, status).await?)
}

/// Performs an action on a machine, and waits until it ends.
pub(crate) async fn act(attempt: Attempt<'_>, id: &ResourceId, action: MachineAction) -> Result<Changed, StepError> {
    attempt.lease.ensure_held()?;
    let begun = attempt.shared.ports.resources.act(id, action, None).await;
    result(follow_begun(attempt, begun).await?)
}

async fn follow_begun(attempt: Attempt<'_>, begun: PortResult<ChangeStatus>) -> Result<PortResult<()>, StepError> {
    match begun {
        Ok(status) => follow(attempt, status).await,
        Err(error) => Ok(Err(error)),
    }
}

/// Polls a change until it ends. Returns its result.
pub(crate) async fn follow(attempt: Attempt<'_>, mut status: ChangeStatus) -> Result<PortResult<()>, StepError> {
    loop {
        match status {
            ChangeStatus::Done => return Ok(Ok(())),
            ChangeStatus::Failed(error) => return Ok(Err(error)),
            ChangeStatus::Pending(pending) => {
                // If the step stops here, the platform continues the change. The next worker finds the resource in
                // progress or complete.
                attempt.pause(pending.retry_after).await?;
                status = attempt.shared.ports.resources.poll(&pending).await?;
            }
        }
    }
}

fn result(ended: PortResult<()>) -> Result<Changed, StepError> {
    match ended {
        Ok(()) => Ok(Changed::Yes),
        // The service names the changed property if a resource of other content got the name after the last read.
        Err(error) if error.kind == ErrorKind::AlreadyExists || error.code == "property-change-not-allowed" => {
            Ok(Changed::NameTaken)
        }
        Err(error) if must_wait(&error) => Ok(Changed::Later(error)),
        Err(error) => Err(error.into()),
    }
}

/// Whether the same request may succeed later: another operation holds the resource, five SAS of the family are in use,
/// or another copy of the disk is running. Only the service determines how long that takes.
pub(crate) fn must_wait(error: &PortError) -> bool {
    // Source: Azure, disks-copy-incremental-snapshot-across-regions, disks-incremental-snapshots, restrictions. As the
    // result of an operation, the code comes without the status of a conflict.
    let says = |word: &str| error.message.to_ascii_lowercase().contains(word);
    error.kind == ErrorKind::Conflict
        || (error.code == "operation-not-allowed" && (says("in progress") || says("running") || says("active")))
}

/// The outcome of an attempt that the service refused for now. It does not count as a failure.
pub(crate) fn later(attempt: Attempt<'_>, error: &PortError) -> StepOutcome {
    tracing::info!(code = error.code, "the service is busy: {error}");
    StepOutcome::RequeueAfter(error.retry_after.unwrap_or_else(|| poll_delay(attempt, true)))
}

/// The time until the next poll of content that arrives.
pub(crate) fn poll_delay(Attempt { shared, operation, .. }: Attempt<'_>, is_remote: bool) -> Duration {
    let heartbeat = shared.settings.heartbeat;
    if !is_remote {
        return heartbeat;
    }
    let since = operation.started.map_or(Duration::ZERO, |started| elapsed(started, shared.ports.clock.now()));
    delay_after(heartbeat, since)
}

/// The time until the next poll of an operation that began this long ago.
fn delay_after(heartbeat: Duration, since: Duration) -> Duration {
    (since / POLL_PART).clamp(heartbeat * FIRST_POLL, heartbeat * LAST_POLL)
}

/// Reads the body of a request from a row.
pub(crate) fn read_body(id: &ResourceId, body: &serde_json::Value) -> Result<ResourceBody, AttemptError> {
    ResourceBody::from_json(id.resource_type, body.clone())
        .map_err(|error| AttemptError::fatal("row-damaged", format!("the body of {id} in the row: {error}")))
}

/// Reads a resource id from a row.
pub(crate) fn read_id(id: &str) -> Result<ResourceId, AttemptError> {
    id.parse().map_err(|error| AttemptError::fatal("row-damaged", format!("{id}: {error}")))
}

/// The id of the lock of a sync on one of its replicas.
pub(crate) fn own_lock(id: &ResourceId, name: &str) -> Result<LockId, AttemptError> {
    LockId::new(id.clone(), name).map_err(|error| AttemptError::fatal("row-damaged", format!("{id}: {error}")))
}

/// The error for a resource that does not exist, although it was created.
pub(crate) fn vanished(id: &ResourceId) -> StepError {
    let message = format!("{id} was created, and does not exist");
    PortError::new(ErrorKind::Unavailable, message).with_code("resource-vanished").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_copy_is_polled_less_often() {
        let delay = |seconds| delay_after(Duration::from_secs(5), Duration::from_secs(seconds)).as_secs();
        assert_eq!([0, 300, 1000, 3000, 100_000].map(delay), [30, 30, 100, 300, 300]);
    }

    #[test]
    fn a_busy_service_is_waited_for() {
        let error = |kind, code: &str, message: &str| PortError::new(kind, message).with_code(code);
        assert!(must_wait(&error(ErrorKind::Conflict, "copy-source-busy", "")));
        assert!(must_wait(&error(ErrorKind::Invalid, "operation-not-allowed", "Another copy is in progress.")));
        assert!(!must_wait(&error(ErrorKind::Invalid, "operation-not-allowed", "Not possible with this SKU.")));
        assert!(!must_wait(&error(ErrorKind::Locked, "scope-locked", "")));
    }
}
