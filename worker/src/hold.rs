//! A lease in hand: the row it stands on, its heartbeat, the progress made under it, and the signal to stop.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use goldfleet_model::chunk_set::ChunkSet;
use goldfleet_model::message::QueueName;
use goldfleet_model::operation::{Kind, Operation, OperationId, OperationState, Progress};
use goldfleet_ports::clock::{after, before};
use goldfleet_ports::commit::{Commit, Outcome, confirmed};
use goldfleet_ports::error::{ErrorKind, PortResult};
use goldfleet_ports::queue::Receipt;
use goldfleet_ports::{ETag, Ports, Versioned};
use jiff::Timestamp;
use tokio::sync::watch;
use uuid::Uuid;

use crate::settings::Settings;

/// Why a step has to stop before its end; the later ones override those before them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stop {
    /// The worker is shutting down.
    Drain,
    /// An operator asked to.
    Cancel,
    /// The lease is lost: whatever is still done must not be recorded.
    Lost,
}

/// The operation's row, and the rows beside it in its group, as last seen.
pub(crate) struct Rows {
    pub(crate) own: Versioned<Operation>,
    pub(crate) siblings: Vec<Versioned<Operation>>,
}

impl Rows {
    /// The rows of a group from the view of this operation; none where it is not among them.
    pub(crate) fn of(id: &OperationId, mut group: Vec<Versioned<Operation>>) -> Option<Self> {
        let at = group.iter().position(|row| row.value.id == *id)?;
        Some(Self { own: group.remove(at), siblings: group })
    }
}

/// A claimed operation.
pub struct Hold {
    ports: Ports,
    token: Uuid,
    lease: Duration,
    skew: Duration,
    beat: Duration,
    kind: Kind,
    queue: QueueName,
    rows: tokio::sync::Mutex<Rows>,
    live: Mutex<Live>,
    stop: watch::Sender<Option<Stop>>,
}

/// What changes between heartbeats. Its lock is never held while anyone waits.
struct Live {
    progress: Progress,
    expires: Timestamp,
    receipt: Receipt,
    receipt_renewed: Timestamp,
}

impl Hold {
    /// The hold of a claim that has just landed.
    pub(crate) fn new(ports: Ports, settings: &Settings, token: Uuid, rows: Rows, receipt: Receipt) -> Self {
        let operation = &rows.own.value;
        let now = ports.clock.now();
        let live = Live {
            progress: operation.progress.clone(),
            expires: operation.lease.as_ref().map_or(now, |lease| lease.expires),
            receipt,
            receipt_renewed: now,
        };
        Self {
            ports,
            token,
            lease: settings.lease,
            skew: settings.skew,
            beat: settings.beat,
            kind: operation.id.kind(),
            queue: QueueName::of(operation.id.kind()),
            rows: tokio::sync::Mutex::new(rows),
            live: Mutex::new(live),
            stop: watch::Sender::new(None),
        }
    }

    /// The operation as claimed, or as last renewed.
    pub async fn operation(&self) -> Operation {
        self.rows.lock().await.own.value.clone()
    }

    /// What the operation does.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    fn live(&self) -> MutexGuard<'_, Live> {
        // Nothing panics while it holds the lock but by a bug; then the data are still whole.
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// To be asked before every effect: an error means that nothing more may be done.
    ///
    /// # Errors
    /// The reason to stop. A process that was paused past its lease learns it here by the clock.
    pub fn check(&self) -> Result<(), Stop> {
        if self.ports.clock.now() >= self.deadline() {
            self.stop(Stop::Lost);
        }
        match *self.stop.borrow() {
            Some(stop) => Err(stop),
            None => Ok(()),
        }
    }

    /// Until when a step may act: the lease's end, less what clocks may differ.
    fn deadline(&self) -> Timestamp {
        before(self.live().expires, self.skew)
    }

    /// Asks the step to stop. A lost lease overrides every other reason, a cancellation a shutdown.
    pub fn stop(&self, reason: Stop) {
        self.stop.send_if_modified(|current| {
            let overrides = *current < Some(reason);
            if overrides {
                *current = Some(reason);
            }
            overrides
        });
    }

    /// Returns when the step has to stop for one of these reasons: that one.
    pub async fn stopped_for(&self, reasons: &[Stop]) -> Stop {
        let mut receiver = self.stop.subscribe();
        loop {
            if let Some(stop) = *receiver.borrow_and_update()
                && reasons.contains(&stop)
            {
                return stop;
            }
            if receiver.changed().await.is_err() {
                // The sender lives as long as `self`, so this can't be; waiting for ever is harmless beside a step.
                std::future::pending::<()>().await;
            }
        }
    }

    /// The progress made so far.
    #[must_use]
    pub fn progress(&self) -> Progress {
        self.live().progress.clone()
    }

    /// Begins to count: chunks of `total` bytes in all, of which those in `done` (of `bytes` bytes) are in place; of a copy, in
    /// the blob of this incarnation.
    pub fn set_progress(&self, incarnation: Option<Uuid>, done: ChunkSet, bytes: u64, total: u64) {
        let progress = &mut self.live().progress;
        progress.incarnation = incarnation;
        progress.done = done;
        progress.bytes_done = bytes;
        progress.bytes_total = total;
    }

    /// Records a chunk of `bytes` bytes as in place.
    pub fn record(&self, chunk: u32, bytes: u64) {
        let progress = &mut self.live().progress;
        if progress.done.insert(chunk) {
            progress.bytes_done += bytes;
        }
    }

    /// Counts bytes that went over the wire.
    pub fn moved(&self, bytes: u64) {
        self.live().progress.bytes_moved += bytes;
    }

    /// Renews lease, message and progress until the hold is stopped for good.
    pub async fn beat_until_lost(&self) -> Stop {
        loop {
            self.ports.clock.sleep(self.beat).await;
            self.renew_row().await;
            if self.check() == Err(Stop::Lost) {
                return Stop::Lost;
            }
            self.renew_message().await;
        }
    }

    /// Writes a new expiry and the progress to the row.
    async fn renew_row(&self) {
        let mut rows = self.rows.lock().await;
        let renewal = |rows: &Rows| {
            let now = self.ports.clock.now();
            let mut operation = rows.own.value.clone();
            operation.progress = self.progress();
            operation.worked(now);
            if let Some(lease) = &mut operation.lease {
                lease.expires = after(now, self.lease);
            }
            let mut commit = Commit::default();
            commit.write(&rows.own, operation, None);
            Some(commit)
        };
        match self.write(&mut rows, renewal).await {
            Ok(Some(Written { commit, etags })) => {
                let renewed = commit.changes.into_iter().next().map(|change| change.operation);
                if let (Some(value), Some(etag)) = (renewed, etags.into_iter().next()) {
                    if let Some(lease) = &value.lease {
                        self.live().expires = lease.expires;
                    }
                    rows.own = Versioned { value, etag };
                }
            }
            Ok(None) => {}
            // The lease still has time; should it run out before the table answers, `check` stops the step.
            Err(error) => tracing::warn!(%error, "a heartbeat could not be written"),
        }
    }

    /// Writes what `decide` makes of the rows. It is asked again where someone else changed them but left the lease, as a
    /// request to cancel does. None where it makes nothing of them or the lease is gone.
    async fn write<F>(&self, rows: &mut Rows, decide: F) -> PortResult<Option<Written>>
    where
        F: Fn(&Rows) -> Option<Commit>,
    {
        loop {
            let Some(commit) = decide(rows) else { return Ok(None) };
            match confirmed(&self.ports, &commit).await? {
                Outcome::Landed(etags) => return Ok(Some(Written { commit, etags })),
                Outcome::Overtaken(group) => {
                    if !self.adopt(rows, group) {
                        return Ok(None);
                    }
                }
            }
        }
    }

    /// Takes over the group as someone else left it. Returns false, and stops the step, where the lease is gone.
    fn adopt(&self, rows: &mut Rows, group: Vec<Versioned<Operation>>) -> bool {
        match Rows::of(&rows.own.value.id, group) {
            Some(seen) if seen.own.value.held_by(self.token) => {
                if seen.own.value.state == OperationState::Cancelling {
                    self.stop(Stop::Cancel);
                }
                *rows = seen;
                true
            }
            _ => {
                self.stop(Stop::Lost);
                false
            }
        }
    }

    async fn renew_message(&self) {
        let now = self.ports.clock.now();
        let receipt = {
            let live = self.live();
            // The message stays invisible for a whole lease: every third of it is early enough.
            if now < after(live.receipt_renewed, self.lease / 3) {
                return;
            }
            live.receipt.clone()
        };
        match self.ports.queue.extend(self.queue, &receipt, self.lease).await {
            Ok(receipt) => {
                let mut live = self.live();
                live.receipt = receipt;
                live.receipt_renewed = now;
            }
            // Whoever receives the message meanwhile finds the row leased, and leaves it alone.
            Err(error) => tracing::debug!(%error, "a message could not be kept invisible"),
        }
    }

    pub(crate) fn queue(&self) -> QueueName {
        self.queue
    }

    pub(crate) fn receipt(&self) -> Receipt {
        self.live().receipt.clone()
    }

    /// Writes the last word on the operation: what `decide` makes of the rows and the progress at that moment. None where it
    /// makes nothing of them or the lease is gone.
    pub(crate) async fn conclude<F>(&self, decide: F) -> Option<Concluded>
    where
        F: Fn(&Rows, Progress, Timestamp) -> Option<Commit>,
    {
        let mut rows = self.rows.lock().await;
        let id = rows.own.value.id.clone();
        let last_word = |rows: &Rows| {
            let lost = *self.stop.borrow() == Some(Stop::Lost);
            if lost { None } else { decide(rows, self.progress(), self.ports.clock.now()) }
        };
        loop {
            match self.write(&mut rows, last_word).await {
                Ok(written) => return written.and_then(|Written { commit, .. }| Concluded::of(&id, commit)),
                Err(error) if error.is_retryable() && self.ports.clock.now() < self.deadline() => {
                    let wait = error.retry_after.unwrap_or(Duration::from_millis(500));
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

/// The operations that the last word on one of them changed, as they are then.
pub(crate) struct Concluded {
    pub(crate) own: Operation,
    /// Those beside it in its group.
    pub(crate) siblings: Vec<Operation>,
}

impl Concluded {
    /// What a commit makes of operations, of which this one is the own.
    fn of(id: &OperationId, commit: Commit) -> Option<Self> {
        let mut operations: Vec<_> = commit.changes.into_iter().map(|change| change.operation).collect();
        let at = operations.iter().position(|operation| operation.id == *id)?;
        Some(Self { own: operations.remove(at), siblings: operations })
    }
}

/// What landed.
struct Written {
    commit: Commit,
    /// The rows' versions, in the order of the commit's changes.
    etags: Vec<ETag>,
}
