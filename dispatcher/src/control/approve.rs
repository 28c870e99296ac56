//! Approval: an operator lets the next ring of a job begin.

use goldfleet_model::ids::JobId;
use goldfleet_model::job::{Approval, Job, JobState};
use goldfleet_model::operation::Operation;
use goldfleet_model::state::JobEvent;
use goldfleet_ports::Versioned;
use goldfleet_ports::error::ErrorKind;

use crate::control::desk::{Desk, DeskError};
use crate::control::rings::{self, Next};

/// An approval, and whether this request gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approved {
    /// The approval, as it stands on the job's row.
    pub approval: Approval,
    /// Whether it is new; else it had been given before.
    pub new: bool,
}

/// Approves the ring that waits for it, in the name of `by`, and lets its copies begin. With `ring`, only if it is that
/// one. A ring that was approved before stays so.
///
/// # Errors
/// [`DeskError::Refused`] where the job needs no approval, no ring waits for it now, or another one does.
pub async fn approve(desk: &Desk, id: &JobId, ring: Option<u32>, by: &str) -> Result<Approved, DeskError> {
    loop {
        let mut row = desk.job(id).await?;
        let operations = desk.ports.table.operations(id).await?;
        let now = desk.ports.clock.now();
        let approved = if let Some(approval) = given(&row.value, &operations, ring) {
            Approved { approval: approval.clone(), new: false }
        } else {
            let ring = awaited(&row.value, &operations, ring)?;
            let line = row.value.apply(JobEvent::Approve(ring), now, by)?;
            match desk.ports.table.commit_job(&row.value, &row.etag, &[line]).await {
                Ok(_) => Approved { approval: Approval { ring, by: by.to_owned(), at: now }, new: true },
                // Someone else was faster; perhaps with the same.
                Err(error) if error.kind == ErrorKind::Conflict => continue,
                Err(error) => return Err(error.into()),
            }
        };
        if let Err(error) = rings::advance(desk, &row.value, &operations, now).await {
            tracing::warn!(%error, job = %id, "the copies of an approved ring are left to the dispatcher's next sweep");
        }
        return Ok(approved);
    }
}

/// The approval that was given before: of the ring that is asked for, else of the one that is about to begin by it.
fn given<'a>(job: &'a Job, operations: &[Versioned<Operation>], asked: Option<u32>) -> Option<&'a Approval> {
    let about_to_begin = || match rings::next(job, operations) {
        Next::Release(ring) => Some(ring),
        _ => None,
    };
    asked.or_else(about_to_begin).and_then(|ring| job.approval(ring))
}

/// The ring that waits for approval.
fn awaited(job: &Job, operations: &[Versioned<Operation>], asked: Option<u32>) -> Result<u32, DeskError> {
    let id = &job.id;
    let why = if job.approvals.is_none() {
        "needs no approval: it was not dispatched with --approve".to_owned()
    } else if job.state == JobState::Requested {
        format!("is not planned yet: 'goldfleet status {id}' says when a ring waits for approval")
    } else if job.state != JobState::Running {
        format!("is {}: none of its rings waits for approval", job.state)
    } else {
        match rings::next(job, operations) {
            Next::Await(ring) if asked.is_none_or(|asked| asked == ring) => return Ok(ring),
            Next::Await(ring) => format!("waits for approval of ring {ring}: that one is up next"),
            Next::Stop(ring) => {
                format!("has no ring to approve, as ring {ring} did not succeed: see 'goldfleet status {id}'")
            }
            Next::Nothing | Next::Release(_) => {
                format!("has no ring that waits for approval now: see 'goldfleet status {id}'")
            }
        }
    };
    Err(DeskError::Refused(format!("job {id} {why}")))
}
