//! Approval: an operator permits the next ring of a job to start.

use goldfleet_model::graph::GateKey;
use goldfleet_model::ids::JobId;
use goldfleet_model::job::{Approval, Job, JobState};
use goldfleet_model::operation::Operation;
use goldfleet_model::state::JobEvent;
use goldfleet_ports::Versioned;
use goldfleet_ports::error::ErrorKind;

use crate::control::context::ControlError;
use crate::control::job_store::JobStore;
use crate::control::rings::{self, RingAction};

/// An approval, and whether this request gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApprovalResult {
    /// The approval, as stored in the job's row.
    pub approval: Approval,
    /// Whether this request gave the approval. False if it was given before.
    pub new: bool,
}

/// Approves the ring that waits for approval, in the name of `by`, and lets its operations start. With `ring`, approves
/// only if that ring is the one that waits. A second approval of the same ring changes nothing.
///
/// # Errors
/// [`ControlError::Refused`] if the job needs no approval, or if no ring or another ring waits for approval.
pub async fn approve(jobs: &JobStore, id: &JobId, ring: Option<u32>, by: &str) -> Result<ApprovalResult, ControlError> {
    loop {
        let mut row = jobs.job(id).await?;
        let operations = jobs.operations(&row.value).await?;
        let now = jobs.ports.clock.now();
        let approved = if let Some(approval) = existing_approval(&row.value, &operations, ring) {
            ApprovalResult { approval: approval.clone(), new: false }
        } else {
            let ring = waiting_ring(&row.value, &operations, ring)?;
            let line = row.value.apply(JobEvent::Approve(ring), now, by)?;
            match jobs.ports.table.commit_job(&row.value, &row.etag, &[line]).await {
                Ok(_) => ApprovalResult { approval: Approval { ring, by: by.to_owned(), at: now }, new: true },
                // Another process changed the job, possibly by the same approval.
                Err(error) if error.kind == ErrorKind::Conflict => continue,
                Err(error) => return Err(error.into()),
            }
        };
        if let Err(error) = jobs.hint_gate(id, &GateKey::ring(approved.approval.ring)).await {
            tracing::warn!(%error, job = %id, "the dispatcher starts the approved ring in its next pass");
        }
        return Ok(approved);
    }
}

/// An approval that was given before: that of the requested ring, or else that of the ring that starts next.
fn existing_approval<'a>(
    job: &'a Job,
    operations: &[Versioned<Operation>],
    asked: Option<u32>,
) -> Option<&'a Approval> {
    let about_to_begin = || match rings::next_action(job, operations) {
        RingAction::Release(ring) => Some(ring),
        _ => None,
    };
    asked.or_else(about_to_begin).and_then(|ring| job.approval(ring))
}

/// The ring that waits for approval.
fn waiting_ring(job: &Job, operations: &[Versioned<Operation>], asked: Option<u32>) -> Result<u32, ControlError> {
    let id = &job.id;
    let why = if job.approvals.is_none() {
        "needs no approval: it was not dispatched with --approve".to_owned()
    } else if job.state == JobState::Requested {
        format!("is not planned yet: 'goldfleet status {id}' shows when a ring waits for approval")
    } else if job.state != JobState::Running {
        format!("is {}: no ring waits for approval", job.state)
    } else {
        match rings::next_action(job, operations) {
            RingAction::AwaitApproval(ring) if asked.is_none_or(|asked| asked == ring) => return Ok(ring),
            RingAction::AwaitApproval(ring) => format!("waits for approval of ring {ring}, which is the next one"),
            RingAction::Stop(reason) => {
                format!("has no ring to approve because {reason}: see 'goldfleet status {id}'")
            }
            RingAction::None | RingAction::Release(_) => {
                format!("has no ring that waits for approval at the moment: see 'goldfleet status {id}'")
            }
        }
    };
    Err(ControlError::Refused(format!("job {id} {why}")))
}
