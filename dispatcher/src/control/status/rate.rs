//! The rate of a job and its remaining bytes, computed from the work periods and the progress in its rows.

use std::time::Duration;

use goldfleet_model::job::Job;
use goldfleet_model::operation::{Operation, OperationState};
use goldfleet_ports::Versioned;
use goldfleet_ports::clock::elapsed;
use jiff::Timestamp;

use super::phases::as_f64;

/// The window for the rate of a running job, in seconds: many heartbeats, but recent enough to describe the current
/// rate.
const RATE_WINDOW_SECONDS: f64 = 300.0;

/// The shortest time for a meaningful rate, in seconds. In a shorter time, start-up and latency determine the rate.
const MIN_RATE_SECONDS: f64 = 1.0;

/// Bytes that were put in place between two times. The times are seconds before now.
#[derive(Debug, Clone, Copy, PartialEq)]
struct ByteSpan {
    from: f64,
    to: f64,
    bytes: f64,
}

impl ByteSpan {
    /// None if the operation contributes nothing: its work period ended before the window, or has no duration.
    fn of(operation: &Operation, now: Timestamp) -> Option<Self> {
        let (stretch, progress) = (operation.work_period?, &operation.progress);
        let length = elapsed(stretch.from, stretch.until).as_secs_f64();
        let to = elapsed(stretch.until, now).as_secs_f64();
        if progress.bytes_total == 0 || length <= 0.0 || to >= RATE_WINDOW_SECONDS {
            return None;
        }
        // Fewer bytes than before: the earlier content is lost, and the operation has started again from nothing.
        let bytes = progress.bytes_done.checked_sub(stretch.bytes_before).unwrap_or(progress.bytes_done);
        let from = (to + length).min(RATE_WINDOW_SECONDS);
        Some(Self { from, to, bytes: as_f64(bytes) * (from - to) / length })
    }
}

/// Bytes per second that were put in place in the window, relative to the time in which any operation ran. Pauses do
/// not count. None if nothing was put in place, or if operations ran for less than [`MIN_RATE_SECONDS`].
pub(super) fn recent_rate(operations: &[Versioned<Operation>], now: Timestamp) -> Option<f64> {
    let mut pieces: Vec<ByteSpan> = operations.iter().filter_map(|row| ByteSpan::of(&row.value, now)).collect();
    let bytes: f64 = pieces.iter().map(|piece| piece.bytes).sum();
    let seconds = covered_seconds(&mut pieces);
    (bytes > 0.0 && seconds >= MIN_RATE_SECONDS).then(|| bytes / seconds)
}

/// The seconds that the spans cover together.
fn covered_seconds(pieces: &mut [ByteSpan]) -> f64 {
    pieces.sort_by(|a, b| b.from.total_cmp(&a.from));
    let (mut seconds, mut reached) = (0.0, f64::INFINITY);
    for piece in pieces.iter() {
        seconds += (piece.from.min(reached) - piece.to).max(0.0);
        reached = piece.to.min(reached);
    }
    seconds
}

/// Bytes per second that were put in place, from the start of the first operation to `end`. 0 if that is less than
/// [`MIN_RATE_SECONDS`].
pub(super) fn average_rate(job: &Job, operations: &[Versioned<Operation>], end: Timestamp) -> f64 {
    let begun = operations.iter().filter_map(|row| row.value.started).min().unwrap_or(job.created);
    let moving = elapsed(begun, end).as_secs_f64();
    let worked = operations.iter().map(|row| &row.value).filter(|operation| operation.state != OperationState::Skipped);
    let done = worked.map(|operation| operation.progress.bytes_done).sum();
    if moving >= MIN_RATE_SECONDS { as_f64(done) / moving } else { 0.0 }
}

/// How long a job may have no active worker before this is reported. It is longer than the poll interval of workers,
/// and longer than a short wait for another operation.
const IDLE: Duration = Duration::from_secs(15);

/// Whether a worker is active: it holds a lease that has not expired.
pub(super) fn is_active(operations: &[Versioned<Operation>], now: Timestamp) -> bool {
    let mut rows = operations.iter().map(|row| &row.value);
    rows.any(|operation| operation.state.is_leased() && !operation.lease_expired(now))
}

/// Seconds since a worker was last active. None if a worker is active or no operation is due.
pub(super) fn idle(operations: &[Versioned<Operation>], now: Timestamp) -> Option<f64> {
    let rows = || operations.iter().map(|row| &row.value);
    let due = |operation: &Operation| match operation.state {
        OperationState::Ready => operation.not_before.is_none_or(|at| at <= now),
        state => state.is_leased(),
    };
    if is_active(operations, now) || !rows().any(due) {
        return None;
    }
    let last =
        rows().map(|operation| operation.work_period.map_or(operation.created, |stretch| stretch.until)).max()?;
    // An operation that became ready just now is not overdue yet.
    let queued = rows().filter(|operation| due(operation)).filter_map(|operation| operation.queued).min();
    let overdue = elapsed(last.max(queued.unwrap_or(last)), now) >= IDLE;
    overdue.then(|| elapsed(last, now).as_secs_f64())
}

/// Bytes that are not in place yet, of operations that have not ended.
pub(super) fn bytes_left(operations: &[Versioned<Operation>]) -> u64 {
    let open = operations.iter().map(|row| &row.value).filter(|operation| !operation.state.is_terminal());
    open.map(|operation| operation.progress.bytes_total.saturating_sub(operation.progress.bytes_done)).sum()
}
