//! The lease guard: the leased row, its heartbeat, the recorded progress, and the stop signal.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use goldfleet_kinds::lease::{Lease, StopReason};
use goldfleet_model::chunk_set::ChunkSet;
use goldfleet_model::document::Document;
use goldfleet_model::message::QueueName;
use goldfleet_model::operation::{Operation, OperationId, OperationState, TransferProgress};
use goldfleet_ports::clock::{after, before};
use goldfleet_ports::commit::{Commit, CommitOutcome, commit_confirmed};
use goldfleet_ports::error::{ErrorKind, PortResult};
use goldfleet_ports::listing::Listing;
use goldfleet_ports::queue::Receipt;
use goldfleet_ports::{ETag, Ports, Versioned};
use goldfleet_workflow::group::GroupChange;
use jiff::Timestamp;
use tokio::sync::watch;
use uuid::Uuid;

use crate::settings::WorkerSettings;

/// The time between two tries to write how an operation ended. It is constant and not a back-off: the end of the lease
/// limits the tries, and a long wait could miss it.
const COMPLETION_RETRY_INTERVAL: Duration = Duration::from_millis(500);

/// The row of the operation and the other rows of its group, in the last known versions.
pub(crate) struct GroupRows {
    pub(crate) own: Versioned<Operation>,
    pub(crate) siblings: Vec<Versioned<Operation>>,
    /// Whether every row of the group can be read.
    is_whole: bool,
}

impl GroupRows {
    /// Separates the row of this operation from the other rows of its group. None if the row is missing.
    pub(crate) fn of(id: &OperationId, group: Listing<Versioned<Operation>>) -> Option<Self> {
        let is_whole = group.unreadable.is_empty();
        let mut group = group.rows;
        let at = group.iter().position(|row| row.value.id == *id)?;
        let own = group.remove(at);
        // Rows of an earlier planning attempt are not part of the graph.
        group.retain(|row| row.value.plan == own.value.plan);
        Some(Self { own, siblings: group, is_whole })
    }

    /// The same rows with a new row of this operation.
    pub(crate) fn with_own(self, own: Versioned<Operation>) -> Self {
        Self { own, ..self }
    }

    /// Starts a change of the group.
    pub(crate) fn change<'a>(&'a self, now: Timestamp, who: &'a str) -> GroupChange<'a> {
        if self.is_whole { GroupChange::new(self.all(), now, who) } else { GroupChange::of_part(self.all(), now, who) }
    }

    /// All rows of the group.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Versioned<Operation>> {
        std::iter::once(&self.own).chain(&self.siblings)
    }
}

/// The lease guard of a claimed operation.
pub struct LeaseGuard {
    ports: Ports,
    token: Uuid,
    lease: Duration,
    clock_skew: Duration,
    heartbeat: Duration,
    visibility: Duration,
    queue: QueueName,
    rows: tokio::sync::Mutex<GroupRows>,
    state: Mutex<LeaseState>,
    stop: watch::Sender<Option<StopReason>>,
}

/// The state that changes between heartbeats. Its lock is never held across an await.
struct LeaseState {
    progress: TransferProgress,
    output: Option<Document>,
    expires: Timestamp,
    receipt: Receipt,
    receipt_renewed: Timestamp,
}

impl LeaseGuard {
    /// Creates the guard of a successful claim.
    pub(crate) fn new(
        ports: Ports,
        settings: &WorkerSettings,
        token: Uuid,
        queue: QueueName,
        rows: GroupRows,
        receipt: Receipt,
    ) -> Self {
        let operation = &rows.own.value;
        let now = ports.clock.now();
        let live = LeaseState {
            progress: operation.progress.clone(),
            output: operation.output.clone(),
            expires: operation.lease.as_ref().map_or(now, |lease| lease.expires),
            receipt,
            receipt_renewed: now,
        };
        Self {
            ports,
            token,
            lease: settings.lease,
            clock_skew: settings.clock_skew,
            heartbeat: settings.steps.heartbeat,
            visibility: settings.visibility,
            queue,
            rows: tokio::sync::Mutex::new(rows),
            state: Mutex::new(live),
            stop: watch::Sender::new(None),
        }
    }

    /// The operation as it was claimed or last renewed.
    pub async fn operation(&self) -> Operation {
        self.rows.lock().await.own.value.clone()
    }

    fn lease_state(&self) -> MutexGuard<'_, LeaseState> {
        // Only a bug can cause a panic while the lock is held. Even then the data are consistent.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The time until which a step may act: the expiry of the lease minus the tolerated clock difference.
    fn act_until(&self) -> Timestamp {
        before(self.lease_state().expires, self.clock_skew)
    }

    /// Asks the step to stop. A lost lease overrides every other reason, and a cancellation overrides a shutdown.
    pub fn request_stop(&self, reason: StopReason) {
        self.stop.send_if_modified(|current| {
            let overrides = *current < Some(reason);
            if overrides {
                *current = Some(reason);
            }
            overrides
        });
    }

    /// Renews the lease, the message and the progress until the lease is lost.
    pub async fn renew_until_lost(&self) -> StopReason {
        loop {
            self.ports.clock.sleep(self.heartbeat).await;
            self.renew_row().await;
            if self.ensure_held() == Err(StopReason::Lost) {
                return StopReason::Lost;
            }
            self.renew_message().await;
        }
    }

    /// The progress and the output that the step has recorded so far.
    fn recorded(&self) -> (TransferProgress, Option<Document>) {
        let state = self.lease_state();
        (state.progress.clone(), state.output.clone())
    }

    /// Writes a new expiry, the progress and the output to the row. Returns whether the row contains them.
    async fn renew_row(&self) -> bool {
        let mut rows = self.rows.lock().await;
        let renewal = |rows: &GroupRows| {
            let now = self.ports.clock.now();
            let mut operation = rows.own.value.clone();
            let (progress, output) = self.recorded();
            if progress.bytes_done > operation.progress.bytes_done {
                operation.lost = 0;
            }
            operation.progress = progress;
            operation.output = output;
            operation.extend_work_period(now);
            if let Some(lease) = &mut operation.lease {
                lease.expires = after(now, self.lease);
            }
            let mut commit = Commit::default();
            commit.push(&rows.own, operation, None);
            Some(commit)
        };
        match self.commit_decision(&mut rows, renewal).await {
            Ok(Some(CommittedRows { commit, etags })) => {
                let renewed = commit.changes.into_iter().next().map(|change| change.operation);
                if let (Some(value), Some(etag)) = (renewed, etags.into_iter().next()) {
                    if let Some(lease) = &value.lease {
                        self.lease_state().expires = lease.expires;
                    }
                    rows.own = Versioned { value, etag };
                }
                true
            }
            Ok(None) => false,
            // The lease has not expired yet. If it expires before the table responds, `ensure_held` stops the step.
            Err(error) => {
                tracing::warn!(%error, "a heartbeat could not be written");
                false
            }
        }
    }

    /// Writes the commit that `decide` derives from the rows. Calls `decide` again if another process changed the rows
    /// but not the lease, as a cancellation does. Returns None if `decide` returns None or the lease is lost.
    async fn commit_decision<F>(&self, rows: &mut GroupRows, decide: F) -> PortResult<Option<CommittedRows>>
    where
        F: Fn(&GroupRows) -> Option<Commit>,
    {
        loop {
            let Some(commit) = decide(rows) else { return Ok(None) };
            match commit_confirmed(&self.ports, &commit).await? {
                CommitOutcome::Committed(etags) => return Ok(Some(CommittedRows { commit, etags })),
                CommitOutcome::Conflict(group) => {
                    if !self.accept_concurrent_change(rows, group) {
                        return Ok(None);
                    }
                }
            }
        }
    }

    /// Adopts the group with the changes of another process. Returns false and stops the step if the lease is lost.
    fn accept_concurrent_change(&self, rows: &mut GroupRows, group: Listing<Versioned<Operation>>) -> bool {
        match GroupRows::of(&rows.own.value.id, group) {
            Some(seen) if seen.own.value.held_by(self.token) => {
                if seen.own.value.state == OperationState::Cancelling {
                    self.request_stop(StopReason::Cancel);
                }
                *rows = seen;
                true
            }
            _ => {
                self.request_stop(StopReason::Lost);
                false
            }
        }
    }

    async fn renew_message(&self) {
        let now = self.ports.clock.now();
        let receipt = {
            let live = self.lease_state();
            if now < after(live.receipt_renewed, self.visibility / 3) {
                return;
            }
            live.receipt.clone()
        };
        match self.ports.queue.extend(self.queue, &receipt, self.visibility).await {
            Ok(receipt) => {
                let mut live = self.lease_state();
                live.receipt = receipt;
                live.receipt_renewed = now;
            }
            // A worker that receives the message in the meantime finds a leased row and does nothing.
            Err(error) => tracing::debug!(%error, "a message could not be kept invisible"),
        }
    }

    pub(crate) fn queue(&self) -> QueueName {
        self.queue
    }

    pub(crate) fn receipt(&self) -> Receipt {
        self.lease_state().receipt.clone()
    }

    /// Writes the end of the attempt: the commit that `decide` derives from the rows and the current progress. Returns
    /// None if `decide` returns None or the lease is lost.
    pub(crate) async fn complete<F>(&self, decide: F) -> Option<CompletedRows>
    where
        F: Fn(&GroupRows, TransferProgress, Option<Document>, Timestamp) -> Option<Commit>,
    {
        let mut rows = self.rows.lock().await;
        let id = rows.own.value.id.clone();
        let last_word = |rows: &GroupRows| {
            let lost = *self.stop.borrow() == Some(StopReason::Lost);
            if lost {
                return None;
            }
            let (progress, output) = self.recorded();
            decide(rows, progress, output, self.ports.clock.now())
        };
        loop {
            match self.commit_decision(&mut rows, last_word).await {
                Ok(written) => return written.and_then(|CommittedRows { commit, .. }| CompletedRows::of(&id, commit)),
                Err(error) if error.is_retryable() && self.ports.clock.now() < self.act_until() => {
                    let wait = error.retry_after.unwrap_or(COMPLETION_RETRY_INTERVAL);
                    self.ports.clock.sleep(wait).await;
                }
                Err(error) => {
                    tracing::error!(%error, kind = error.kind.as_str(), "an outcome could not be written");
                    debug_assert!(error.kind != ErrorKind::Invalid, "{error}");
                    return None;
                }
            }
        }
    }
}

#[async_trait]
impl Lease for LeaseGuard {
    fn ensure_held(&self) -> Result<(), StopReason> {
        if self.ports.clock.now() >= self.act_until() {
            self.request_stop(StopReason::Lost);
        }
        match *self.stop.borrow() {
            Some(stop) => Err(stop),
            None => Ok(()),
        }
    }

    async fn stop_requested(&self, reasons: &[StopReason]) -> StopReason {
        let mut receiver = self.stop.subscribe();
        loop {
            if let Some(stop) = *receiver.borrow_and_update()
                && reasons.contains(&stop)
            {
                return stop;
            }
            if receiver.changed().await.is_err() {
                // The sender lives as long as `self`, so this is unreachable. If it were reached, waiting forever would
                // be safe, because the step runs concurrently.
                std::future::pending::<()>().await;
            }
        }
    }

    fn progress(&self) -> TransferProgress {
        self.lease_state().progress.clone()
    }

    fn set_progress(&self, incarnation: Option<Uuid>, done: ChunkSet, bytes: u64, total: u64) {
        let progress = &mut self.lease_state().progress;
        progress.incarnation = incarnation;
        progress.done = done;
        progress.bytes_done = bytes;
        progress.bytes_total = total;
    }

    fn record_chunk(&self, chunk: u32, bytes: u64) {
        let progress = &mut self.lease_state().progress;
        if progress.done.insert(chunk) {
            progress.bytes_done += bytes;
        }
    }

    fn add_bytes_moved(&self, bytes: u64) {
        self.lease_state().progress.bytes_moved += bytes;
    }

    async fn put_output(&self, output: Document) -> Result<(), StopReason> {
        self.lease_state().output = Some(output);
        if self.renew_row().await {
            return Ok(());
        }
        self.ensure_held()?;
        // Without the row, no later attempt would find what was created. The attempt is repeated.
        self.request_stop(StopReason::Lost);
        Err(StopReason::Lost)
    }
}

/// The operations that a completion changed, in their new states.
pub(crate) struct CompletedRows {
    pub(crate) own: Operation,
    /// The other changed operations of the group.
    pub(crate) siblings: Vec<Operation>,
}

impl CompletedRows {
    /// Whether an operation of the group became ready.
    pub(crate) fn releases(&self) -> bool {
        self.siblings.iter().any(|operation| operation.state == OperationState::Ready)
    }

    /// Extracts the changed operations from a commit. `id` is the operation of the attempt.
    fn of(id: &OperationId, commit: Commit) -> Option<Self> {
        let mut operations: Vec<_> = commit.changes.into_iter().map(|change| change.operation).collect();
        let at = operations.iter().position(|operation| operation.id == *id)?;
        Some(Self { own: operations.remove(at), siblings: operations })
    }
}

/// A commit that was written.
struct CommittedRows {
    commit: Commit,
    /// The new versions of the rows, in the order of the commit's changes.
    etags: Vec<ETag>,
}
