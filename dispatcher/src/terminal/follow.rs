//! Follows a job until it ends.

use std::time::Duration;

use goldfleet_model::ids::JobId;
use goldfleet_ports::backoff::Backoff;
use goldfleet_ports::clock::elapsed;
use tokio_util::sync::CancellationToken;

use crate::control::context::{ControlContext, ControlError};
use crate::control::reconcile::{JobCheck, reconcile_job_by_id};
use crate::control::status::{ReportedState, Status, status};
use crate::terminal::progress::ProgressDisplay;

/// The time between two polls of a job: short at first, as many jobs end soon.
const POLL: Backoff = Backoff::new(Duration::from_millis(25), Duration::from_millis(500));

/// How long a dispatcher may take to write the end of a job: several reconciler passes, and the removal of staged VHDs.
const DISPATCHER_GRACE: Duration = Duration::from_secs(90);

/// Which process writes the end of a job to its row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinishedBy {
    /// This process, as soon as the last operation has ended.
    ThisProcess,
    /// A dispatcher, at its next reconciler pass, with its configuration and permissions. This process writes it if no
    /// dispatcher has done so after 90 seconds.
    Fleet,
    /// A dispatcher, without a time limit.
    OtherProcess,
}

impl FinishedBy {
    /// Whether this process must write the end of a job whose last operation ended `since` ago.
    fn must_write_end(self, since: Duration) -> bool {
        match self {
            Self::ThisProcess => true,
            Self::Fleet => since >= DISPATCHER_GRACE,
            Self::OtherProcess => false,
        }
    }
}

/// Follows a job until it has ended. None if `stop` was cancelled first.
///
/// # Errors
/// If the table cannot be reached.
pub async fn follow(
    control: &ControlContext,
    id: &JobId,
    finish: FinishedBy,
    progress: &ProgressDisplay,
    stop: &CancellationToken,
) -> Result<Option<Status>, ControlError> {
    let mut polls = 0_u32;
    let mut ended = None;
    loop {
        let job = control.jobs.job(id).await?.value;
        let status = status(&control.jobs, &job).await?;
        progress.job(&status);
        // The job's row must have ended too, because clean-up runs before the end is written there.
        if status.state != ReportedState::Running && job.state.is_terminal() {
            progress.end();
            return Ok(Some(status));
        }
        let now = control.ports.clock.now();
        ended = (status.state != ReportedState::Running).then(|| ended.unwrap_or(now));
        if ended.is_some_and(|ended| finish.must_write_end(elapsed(ended, now))) {
            let looked = tokio::select! {
                looked = reconcile_job_by_id(control, id) => looked?,
                () = stop.cancelled() => JobCheck::Open,
            };
            if looked == JobCheck::Ended {
                continue;
            }
        }
        tokio::select! {
            () = control.ports.clock.sleep(POLL.wait(polls)) => polls = polls.saturating_add(1),
            () = stop.cancelled() => {
                // Keep the progress visible for the operator.
                progress.leave();
                return Ok(None);
            }
        }
    }
}
