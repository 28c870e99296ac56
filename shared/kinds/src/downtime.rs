//! The limit of the time for which a job stops a machine. After the limit, no snapshot is begun, so that the row that
//! starts the machine does not wait for it.

use std::time::Duration;

use goldfleet_machines::spec::DeallocateOutput;
use goldfleet_model::resource::ResourceId;
use goldfleet_ports::clock::{after, elapsed};
use goldfleet_snapshots::graph::RequiresStopped;
use jiff::Timestamp;

use crate::attempt_error::AttemptError;
use crate::context::Attempt;
use crate::outcome::{StepError, StepOutcome, StepResult};

/// The shortest wait before the next attempt.
const MIN_WAIT: Duration = Duration::from_millis(100);

/// The wait before the limit, after a failure that states no wait. It is short, because the machine is stopped during
/// the wait.
const RETRY_WAIT: Duration = Duration::from_secs(2);

/// The time at which the machine of a row must be started again. None if the job did not stop it, or if there is no
/// limit.
pub(crate) async fn end(
    attempt: Attempt<'_>,
    machine: Option<&RequiresStopped>,
) -> Result<Option<Timestamp>, StepError> {
    let Some(downtime) = machine.and_then(|machine| machine.downtime.as_ref()) else { return Ok(None) };
    let Attempt { shared, operation, .. } = attempt;
    let row = shared.ports.table.operation(&operation.job, &downtime.deallocated_by).await?;
    let output = row.and_then(|row| row.value.output?.read::<DeallocateOutput>(1).ok());
    let stopped = output.filter(|output| output.ran).and_then(|output| output.at);
    Ok(stopped.map(|at| after(at, Duration::from_secs(downtime.seconds))))
}

/// Rejects the creation of a snapshot after the limit.
pub(crate) fn check(attempt: Attempt<'_>, id: &ResourceId, until: Option<Timestamp>) -> Result<(), AttemptError> {
    if until.is_none_or(|until| attempt.shared.ports.clock.now() < until) {
        return Ok(());
    }
    let message = format!("{id}: the snapshot had not begun when the machine had to be started again");
    Err(AttemptError::fatal("downtime-exceeded", message))
}

/// The result of an attempt, with a wait that ends at the limit at the latest.
pub(crate) fn bound(ended: StepResult, until: Timestamp, now: Timestamp) -> StepResult {
    let left = elapsed(now, until);
    if left.is_zero() {
        return ended;
    }
    let wait = |wait: Duration| wait.min(left).max(MIN_WAIT);
    match ended {
        Ok(StepOutcome::RequeueAfter(after)) => Ok(StepOutcome::RequeueAfter(wait(after))),
        Err(StepError::Failed(failed)) if failed.retryable => {
            let retry_after = Some(wait(failed.retry_after.unwrap_or(RETRY_WAIT)));
            Err(AttemptError { retry_after, ..failed }.into())
        }
        ended => ended,
    }
}

#[cfg(test)]
mod tests {
    use goldfleet_ports::error::{ErrorKind, PortError};

    use super::*;

    #[test]
    fn no_attempt_waits_beyond_the_limit() {
        let now = Timestamp::UNIX_EPOCH;
        let until = after(now, Duration::from_secs(60));
        let busy = |wait: u64| {
            let error = PortError::new(ErrorKind::Throttled, "busy").with_retry_after(Duration::from_secs(wait));
            Err(StepError::from(error))
        };
        let retry_after = |ended: StepResult| match ended {
            Ok(StepOutcome::RequeueAfter(wait)) => Some(wait.as_secs()),
            Err(StepError::Failed(failed)) => failed.retry_after.map(|wait| wait.as_secs()),
            _ => None,
        };
        assert_eq!(retry_after(bound(busy(480), until, now)), Some(60));
        assert_eq!(retry_after(bound(busy(5), until, now)), Some(5));
        let requeue = |wait| Ok(StepOutcome::RequeueAfter(Duration::from_secs(wait)));
        assert_eq!(retry_after(bound(requeue(300), until, now)), Some(60));
        assert_eq!(retry_after(bound(requeue(300), until, until)), Some(300), "it has begun, and is waited for");
        let fatal = AttemptError::fatal("row-damaged", "x");
        assert_eq!(bound(Err(fatal.clone().into()), until, now), Err(fatal.into()));
    }
}
