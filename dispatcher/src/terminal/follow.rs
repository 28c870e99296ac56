//! Following a job to its end.

use std::time::Duration;

use goldfleet_model::ids::JobId;
use goldfleet_ports::clock::between;
use tokio_util::sync::CancellationToken;

use crate::control::desk::{Desk, DeskError};
use crate::control::status::{Standing, Status, status};
use crate::control::sweep::{Looked, look_after};
use crate::terminal::progress::Progress;

/// The time between the first two looks at a job; it doubles up to [`LOOK`].
const FIRST_LOOK: Duration = Duration::from_millis(25);

/// The time between two looks at a job that takes long.
const LOOK: Duration = Duration::from_millis(500);

/// How long a dispatcher may take to write the end of a job: several sweeps, and the removal of its staged VHDs.
const NO_DISPATCHER: Duration = Duration::from_secs(90);

/// Who writes a job's end to its row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// Whoever follows it, as soon as its last operation has ended.
    Here,
    /// A dispatcher, at its next sweep, with its configuration and its rights; whoever follows it where none has after a
    /// minute and a half.
    Fleet,
    /// A dispatcher, whenever that is.
    Elsewhere,
}

impl Finish {
    /// Whether it is for whoever follows to write the end of a job whose last operation ended so long ago.
    fn is_due(self, since: Duration) -> bool {
        match self {
            Self::Here => true,
            Self::Fleet => since >= NO_DISPATCHER,
            Self::Elsewhere => false,
        }
    }
}

/// Follows a job until it has ended. None where `stop` was cancelled first.
///
/// # Errors
/// Where the table can't be reached.
pub async fn follow(
    desk: &Desk,
    id: &JobId,
    finish: Finish,
    progress: &Progress,
    stop: &CancellationToken,
) -> Result<Option<Status>, DeskError> {
    let mut look = FIRST_LOOK;
    let mut ended = None;
    loop {
        let job = desk.job(id).await?.value;
        let status = status(desk, &job).await?;
        progress.job(&status);
        // Its own row too: clean-up comes before the job's end is written there.
        if status.state != Standing::Running && job.state.is_terminal() {
            progress.end();
            return Ok(Some(status));
        }
        let now = desk.ports.clock.now();
        ended = (status.state != Standing::Running).then(|| ended.unwrap_or(now));
        if ended.is_some_and(|ended| finish.is_due(between(ended, now))) {
            let looked = tokio::select! {
                looked = look_after(desk, id) => looked?,
                () = stop.cancelled() => Looked::Open,
            };
            if looked == Looked::Ended {
                continue;
            }
        }
        tokio::select! {
            () = desk.ports.clock.sleep(look) => look = (look * 2).min(LOOK),
            () = stop.cancelled() => {
                progress.end();
                return Ok(None);
            }
        }
    }
}
