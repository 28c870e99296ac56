//! THE transition functions of operations and jobs.
//!
//! [`next_operation`] and [`next_job`] say which state follows a state at an event; anything they do not list is an
//! error. [`Operation::apply`] and [`Job::apply`] are the only code that changes a state, and each returns the
//! [`Event`] to append in the same commit. The picture is in `docs/lifecycle.md`.

use jiff::{SignedDuration, Timestamp};

use crate::event::Event;
use crate::job::{Approval, Job, JobState};
use crate::operation::{Failure, Lease, Operation, OperationState, WorkPeriod};

/// The longest time between two attempts of one [`WorkPeriod`]: far more than a step waits for something, and far less than a fleet
/// that was shut down rests.
const MAX_PAUSE: SignedDuration = SignedDuration::from_mins(5);

/// What can happen to an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OperationEvent {
    /// The gates that it waits for are open.
    Open,
    /// Everything that it waits for has happened.
    Release,
    /// A worker takes it.
    Claim(Lease),
    /// Its worker's lease ran out.
    Expire(Failure),
    /// Its worker waits for something and gives it back until then. Not a failure.
    Defer(Timestamp),
    /// Its worker is shutting down and gives it back.
    Drain,
    /// An attempt failed in a way that may pass; again at the given time.
    Retry(Failure, Timestamp),
    /// Done.
    Succeed,
    /// An attempt failed for good.
    Fail(Failure),
    /// What it needs will not come about.
    Block(Failure),
    /// An operator asks to stop.
    Cancel,
    /// Its worker has stopped at a checkpoint, as it was asked to.
    ConfirmCancel,
    /// An operator asks to try again, at once.
    RetryRequested,
    /// An operator asks to try again, once what it waits for has come about.
    RetryDeferred,
}

impl OperationEvent {
    /// The event's name, for the log.
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
            Self::RetryRequested => "rearm",
            Self::RetryDeferred => "rewait",
        }
    }
}

/// What can happen to a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobEvent {
    /// All its operations are in the table.
    Planned,
    /// It can't be planned.
    Reject,
    /// An operator lets this ring begin, which waits for that.
    Approve(u32),
    /// An operator asks to stop.
    Cancel,
    /// All operations ended, and each succeeded or had nothing to do.
    Succeed,
    /// All operations ended, some failed.
    Fail,
    /// All operations ended, none failed, some were cancelled.
    ConfirmCancel,
    /// An operator asks to try again.
    Retry,
}

impl JobEvent {
    /// The event's name, for the log.
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

/// An event that the state does not allow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} can't {event} while it is {state}")]
pub struct IllegalTransition {
    /// The operation or job.
    pub what: String,
    /// The state it is in.
    pub state: &'static str,
    /// The event that was tried.
    pub event: &'static str,
}

/// The state of an operation that follows `state` at `event`; none where the event is not allowed.
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
        // A step may reach its end before it notices that it was to stop: what is done is done.
        (S::Running | S::Cancelling, E::Succeed) => S::Succeeded,
        // Without a worker there is nobody left to stop.
        (S::Running | S::Cancelling | S::Ready, E::Fail(_)) => S::Failed,
        (S::Running, E::Cancel) => S::Cancelling,
        (S::Cancelling, E::ConfirmCancel | E::Expire(_)) => S::Cancelled,
        // A copy that is done is done again where its VHD is gone before the image is made.
        (S::Succeeded | S::Failed | S::Cancelled, E::RetryRequested) => S::Ready,
        (S::Succeeded | S::Failed | S::Cancelled, E::RetryDeferred) => S::Waiting,
        _ => return None,
    })
}

/// The state of a job that follows `state` at `event`; none where the event is not allowed.
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
    /// Takes the operation through `event`, and returns the line for the events log.
    ///
    /// # Errors
    /// [`IllegalTransition`] where its state does not allow the event; the operation is then unchanged.
    pub fn apply(&mut self, event: OperationEvent, at: Timestamp, who: &str) -> Result<Event, IllegalTransition> {
        let from = self.state;
        let what = event.name();
        let to = next_operation(from, &event).ok_or_else(|| IllegalTransition {
            what: self.id.to_string(),
            state: from.as_str(),
            event: what,
        })?;
        // A lease that ran out, or a request to stop, is written by others than its worker.
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

    /// Keeps on the row what the event carries; returns its reason, for the log.
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
                self.failures += 1;
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
                self.failure = None;
                None
            }
            event @ (OperationEvent::RetryRequested | OperationEvent::RetryDeferred) => {
                self.opened = event == OperationEvent::RetryRequested;
                self.failures = 0;
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
    /// Takes the job through `event`, and returns the line for the events log. An event that ends the job sets
    /// [`Job::finished`] to `at`, unless the caller has set it.
    ///
    /// # Errors
    /// [`IllegalTransition`] where its state does not allow the event; the job is then unchanged.
    pub fn apply(&mut self, event: JobEvent, at: Timestamp, who: &str) -> Result<Event, IllegalTransition> {
        let from = self.state;
        let to = next_job(from, event).filter(|_| self.is_permitted(event)).ok_or_else(|| IllegalTransition {
            what: format!("job {}", self.id),
            state: if self.removing { "being removed" } else { from.as_str() },
            event: event.name(),
        })?;
        if let (JobEvent::Approve(ring), Some(approvals)) = (event, &mut self.approvals) {
            approvals.push(Approval { ring, by: who.to_owned(), at });
        }
        self.state = to;
        self.updated = at;
        // A caller that knows when the last operation ended sets the moment before: the job ended then, not when that was found.
        self.finished = to.is_terminal().then(|| self.finished.unwrap_or(at));
        if to == JobState::Running {
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

    /// How the job ends, if all its operations, which are in these states, have. One that was cancelled before it was planned to
    /// its end has not succeeded: it may lack some of those that were to be.
    pub fn job_end(&self, operations: impl IntoIterator<Item = OperationState>) -> Option<JobEvent> {
        let states: Vec<OperationState> = operations.into_iter().collect();
        if !states.iter().all(|state| state.is_terminal()) {
            return None;
        }
        let is_unplanned = self.state == JobState::Cancelling && self.operations.is_none();
        Some(if states.contains(&OperationState::Failed) {
            JobEvent::Fail
        } else if states.is_empty() || is_unplanned || states.contains(&OperationState::Cancelled) {
            JobEvent::ConfirmCancel
        } else {
            JobEvent::Succeed
        })
    }

    /// Whether the row allows what its state does: a ring is approved once, and only where it has to be.
    fn is_permitted(&self, event: JobEvent) -> bool {
        match event {
            _ if self.removing => false,
            JobEvent::Approve(ring) => self.approvals.is_some() && self.approval(ring).is_none(),
            _ => true,
        }
    }
}
