//! The transition functions of operations and jobs. No other code decides which transitions are allowed.
//!
//! [`next_operation`] and [`next_job`] return the state that follows a state at an event. Any pair that they do not
//! list is an error. [`Operation::apply`] and [`Job::apply`] are the only code that changes a state, and each returns
//! the [`Event`] to append in the same commit. `docs/lifecycle.md` has the state diagrams.

use jiff::{SignedDuration, Timestamp};

use crate::event::Event;
use crate::job::{Approval, Job, JobState};
use crate::operation::{Failure, Lease, Operation, OperationState, WorkPeriod};

/// The longest pause between two attempts of one [`WorkPeriod`]. It is far longer than the waits of a step, and far
/// shorter than the time for which a fleet is usually shut down.
const MAX_PAUSE: SignedDuration = SignedDuration::from_mins(5);

/// The events of an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OperationEvent {
    /// The gates that it waits for have opened.
    Open,
    /// Everything that it waits for is done.
    Release,
    /// A worker claims it.
    Claim(Lease),
    /// The lease of its worker expired.
    Expire(Failure),
    /// Its worker must wait, and releases the operation until this time. This is not a failure.
    Defer(Timestamp),
    /// Its worker shuts down and releases the operation.
    Drain,
    /// An attempt failed with a transient error. The operation is retried at this time.
    Retry(Failure, Timestamp),
    /// An attempt succeeded.
    Succeed,
    /// An attempt failed with a permanent error.
    Fail(Failure),
    /// An operation that it needs did not succeed.
    Block(Failure),
    /// An operator requests cancellation.
    Cancel,
    /// Its worker has stopped at a checkpoint because of a cancellation.
    ConfirmCancel,
    /// An operator requests a retry that can start immediately.
    RetryRequested,
    /// An operator requests a retry that must wait for earlier operations or gates.
    RetryDeferred,
}

impl OperationEvent {
    /// The name of the event in the event log.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Release => "release",
            Self::Claim(_) => "claim",
            Self::Expire(_) => "expire",
            Self::Defer(_) => "defer",
            Self::Drain => "drain",
            Self::Retry(..) => "retry",
            Self::Succeed => "succeed",
            Self::Fail(_) => "fail",
            Self::Block(_) => "block",
            Self::Cancel => "cancel",
            Self::ConfirmCancel => "stop",
            Self::RetryRequested => "retry-requested",
            Self::RetryDeferred => "retry-deferred",
        }
    }
}

/// The events of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobEvent {
    /// All its operations are in the table.
    Planned,
    /// It cannot be planned.
    Reject,
    /// An operator approves this ring, which waits for an approval.
    Approve(u32),
    /// An operator requests cancellation.
    Cancel,
    /// All operations ended, and each of them succeeded or was skipped.
    Succeed,
    /// All operations ended, and at least one failed.
    Fail,
    /// All operations ended, none failed, and at least one was cancelled.
    ConfirmCancel,
    /// An operator requests a retry.
    Retry,
}

impl JobEvent {
    /// The name of the event in the event log.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::Reject => "reject",
            Self::Approve(_) => "approve",
            Self::Cancel => "cancel",
            Self::Succeed => "succeed",
            Self::Fail => "fail",
            Self::ConfirmCancel => "stop",
            Self::Retry => "retry",
        }
    }
}

/// An event that is not allowed in the present state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} cannot {event} while it is {state}")]
pub struct IllegalTransition {
    /// The operation or job.
    pub what: String,
    /// Its state.
    pub state: &'static str,
    /// The rejected event.
    pub event: &'static str,
}

/// Returns the state of an operation that follows `state` at `event`. None if the event is not allowed.
#[must_use]
pub fn next_operation(state: OperationState, event: &OperationEvent) -> Option<OperationState> {
    use OperationEvent as E;
    use OperationState as S;
    Some(match (state, event) {
        (S::Waiting, E::Open) => S::Waiting,
        (S::Waiting, E::Release) => S::Ready,
        (S::Waiting, E::Block(_)) => S::Cancelled,
        (S::Waiting | S::Ready, E::Cancel) => S::Cancelled,
        (S::Ready, E::Claim(_)) => S::Running,
        (S::Running, E::Expire(_) | E::Defer(_) | E::Drain | E::Retry(..)) => S::Ready,
        // A step may finish before it notices a cancellation. The result is kept.
        (S::Running | S::Cancelling, E::Succeed) => S::Succeeded,
        // A ready operation has no worker that must stop first, so it can fail directly.
        (S::Running | S::Cancelling | S::Ready, E::Fail(_)) => S::Failed,
        (S::Running, E::Cancel) => S::Cancelling,
        (S::Cancelling, E::ConfirmCancel | E::Expire(_)) => S::Cancelled,
        // A finished copy is repeated if its VHD was removed before the image was created.
        (S::Succeeded | S::Failed | S::Cancelled, E::RetryRequested) => S::Ready,
        (S::Succeeded | S::Failed | S::Cancelled, E::RetryDeferred) => S::Waiting,
        _ => return None,
    })
}

/// Returns the state of a job that follows `state` at `event`. None if the event is not allowed.
#[must_use]
pub fn next_job(state: JobState, event: JobEvent) -> Option<JobState> {
    use JobEvent as E;
    use JobState as S;
    Some(match (state, event) {
        (S::Requested, E::Planned) => S::Running,
        (S::Requested, E::Reject) => S::Failed,
        (S::Running, E::Approve(_)) => S::Running,
        (S::Requested | S::Running, E::Cancel) => S::Cancelling,
        (S::Running | S::Cancelling, E::Succeed) => S::Succeeded,
        (S::Running | S::Cancelling, E::Fail) => S::Failed,
        (S::Running | S::Cancelling, E::ConfirmCancel) => S::Cancelled,
        (S::Failed | S::Cancelled, E::Retry) => S::Running,
        _ => return None,
    })
}

impl Operation {
    /// Applies `event` to the operation, and returns the entry for the event log.
    ///
    /// # Errors
    /// [`IllegalTransition`] if its state does not allow the event; the operation is then unchanged.
    pub fn apply(&mut self, event: OperationEvent, at: Timestamp, who: &str) -> Result<Event, IllegalTransition> {
        let from = self.state;
        let what = event.name();
        let to = next_operation(from, &event).ok_or_else(|| IllegalTransition {
            what: self.id.to_string(),
            state: from.as_str(),
            event: what,
        })?;
        // The worker does not write the expiry of its lease or a cancellation request itself.
        if from.is_leased() && !matches!(event, OperationEvent::Expire(_) | OperationEvent::Cancel) {
            self.extend_work_period(at);
        }
        let why = self.apply_payload(event, at);
        self.state = to;
        self.updated = at;
        if !to.is_leased() {
            self.lease = None;
        }
        Ok(Event {
            job: self.job.clone(),
            operation: Some(self.id.clone()),
            at,
            who: who.to_owned(),
            from: from.as_str().to_owned(),
            to: to.as_str().to_owned(),
            what: what.to_owned(),
            why,
        })
    }

    /// Stores the data of the event in the row and returns the reason for the event log.
    fn apply_payload(&mut self, event: OperationEvent, at: Timestamp) -> Option<String> {
        match event {
            OperationEvent::Claim(lease) => {
                self.attempts += 1;
                self.started.get_or_insert(at);
                self.work_period =
                    self.work_period.filter(|work_period| at.duration_since(work_period.until) <= MAX_PAUSE);
                let begins = WorkPeriod { from: at, until: at, bytes_before: self.progress.bytes_done };
                self.work_period.get_or_insert(begins).until = at;
                self.not_before = None;
                let why = format!("attempt {}", self.attempts);
                self.lease = Some(lease);
                Some(why)
            }
            OperationEvent::Retry(failure, until) => {
                self.failures += 1;
                self.not_before = Some(until);
                Some(self.record_failure(failure))
            }
            OperationEvent::Expire(failure) => {
                self.lost += 1;
                Some(self.record_failure(failure))
            }
            OperationEvent::Fail(failure) => {
                self.failures += 1;
                Some(self.record_failure(failure))
            }
            OperationEvent::Block(failure) => Some(self.record_failure(failure)),
            OperationEvent::Defer(until) => {
                self.not_before = Some(until);
                None
            }
            OperationEvent::Succeed => {
                self.lost = 0;
                self.failure = None;
                None
            }
            event @ (OperationEvent::RetryRequested | OperationEvent::RetryDeferred) => {
                self.opened = event == OperationEvent::RetryRequested;
                self.failures = 0;
                self.lost = 0;
                self.failure = None;
                self.not_before = None;
                self.queued = None;
                self.work_period = None;
                None
            }
            OperationEvent::Open => {
                self.opened = true;
                None
            }
            OperationEvent::Release
            | OperationEvent::Drain
            | OperationEvent::Cancel
            | OperationEvent::ConfirmCancel => None,
        }
    }

    fn record_failure(&mut self, failure: Failure) -> String {
        let why = format!("{}: {}", failure.code, failure.message);
        self.failure = Some(failure);
        why
    }
}

impl Job {
    /// Applies `event` to the job, and returns the entry for the event log. An event that ends the job sets
    /// [`Job::finished`] to `at`, unless the caller has set it.
    ///
    /// # Errors
    /// [`IllegalTransition`] if its state does not allow the event; the job is then unchanged.
    pub fn apply(&mut self, event: JobEvent, at: Timestamp, who: &str) -> Result<Event, IllegalTransition> {
        let from = self.state;
        let allowed = next_job(from, event).filter(|_| self.is_permitted(event));
        // A job that was cancelled before it was planned is planned again.
        let to = if event == JobEvent::Retry && self.operations.is_none() {
            allowed.map(|_| JobState::Requested)
        } else {
            allowed
        };
        let to = to.ok_or_else(|| IllegalTransition {
            what: format!("job {}", self.id),
            state: if self.removing { "being removed" } else { from.as_str() },
            event: event.name(),
        })?;
        if let (JobEvent::Approve(ring), Some(approvals)) = (event, &mut self.approvals) {
            approvals.push(Approval { ring, by: who.to_owned(), at });
        }
        self.state = to;
        self.updated = at;
        // A caller that knows when the last operation ended has set that moment: the job ended then.
        self.finished = to.is_terminal().then(|| self.finished.unwrap_or(at));
        if to == JobState::Running || to == JobState::Requested {
            self.failure = None;
            self.cleaned = false;
        }
        Ok(Event {
            job: self.id.clone(),
            operation: None,
            at,
            who: who.to_owned(),
            from: from.as_str().to_owned(),
            to: to.as_str().to_owned(),
            what: event.name().to_owned(),
            why: match event {
                JobEvent::Approve(ring) => Some(format!("ring {ring}")),
                _ => self.failure.as_ref().map(|failure| format!("{}: {}", failure.code, failure.message)),
            },
        })
    }

    /// Returns the event that ends the job, if all its operations, whose states are given, have ended. A job that was
    /// cancelled during planning has not succeeded, because some of its operations may be missing. A job that was
    /// planned without any operation had nothing to do, and has succeeded.
    pub fn job_end(&self, operations: impl IntoIterator<Item = OperationState>) -> Option<JobEvent> {
        let states: Vec<OperationState> = operations.into_iter().collect();
        if !states.iter().all(|state| state.is_terminal()) {
            return None;
        }
        let is_unplanned = self.operations.is_none() && (states.is_empty() || self.state == JobState::Cancelling);
        let is_cancelled = states.is_empty() && self.state == JobState::Cancelling;
        // The findings are those of a plan.
        let has_faults = !is_unplanned && self.findings.iter().any(|finding| finding.failed);
        Some(if has_faults || states.contains(&OperationState::Failed) {
            JobEvent::Fail
        } else if is_cancelled || is_unplanned || states.contains(&OperationState::Cancelled) {
            JobEvent::ConfirmCancel
        } else {
            JobEvent::Succeed
        })
    }

    /// Whether the row allows the event in addition to its state: a ring is approved only once, and only if it needs an
    /// approval.
    fn is_permitted(&self, event: JobEvent) -> bool {
        match event {
            _ if self.removing => false,
            JobEvent::Approve(ring) => self.approvals.is_some() && self.approval(ring).is_none(),
            JobEvent::Retry => self.operations.is_some() || self.state == JobState::Cancelled,
            _ => true,
        }
    }
}
