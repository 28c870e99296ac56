//! How fast a job is, and what is left of it: from what its rows tell of when their bytes came to be in place.

use std::time::Duration;

use goldfleet_model::job::Job;
use goldfleet_model::operation::{Operation, OperationState};
use goldfleet_ports::Versioned;
use goldfleet_ports::clock::between;
use jiff::Timestamp;

use super::phases::as_f64;

/// How far back the rate of a running job looks, in seconds: over many heartbeats, and not so far that it tells of yesterday.
const WINDOW: f64 = 300.0;

/// Bytes that came to be in place between two moments, in seconds before now.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Piece {
    from: f64,
    to: f64,
    bytes: f64,
}

impl Piece {
    /// None of what tells nothing: it ended before the window, or no time has passed since it was taken up.
    fn of(operation: &Operation, now: Timestamp) -> Option<Self> {
        let (stretch, progress) = (operation.stretch?, &operation.progress);
        let length = between(stretch.from, stretch.until).as_secs_f64();
        let to = between(stretch.until, now).as_secs_f64();
        if progress.bytes_total == 0 || length <= 0.0 || to >= WINDOW {
            return None;
        }
        // Less than there was: what was in place is gone, and it was begun from nothing.
        let bytes = progress.bytes_done.checked_sub(stretch.bytes_before).unwrap_or(progress.bytes_done);
        let from = (to + length).min(WINDOW);
        Some(Self { from, to, bytes: as_f64(bytes) * (from - to) / length })
    }
}

/// Bytes put in place a second in the time that anything was worked on, of the last few minutes. Pauses do not count. None
/// where nothing was put in place.
pub(super) fn lately(operations: &[Versioned<Operation>], now: Timestamp) -> Option<f64> {
    let mut pieces: Vec<Piece> = operations.iter().filter_map(|row| Piece::of(&row.value, now)).collect();
    let bytes: f64 = pieces.iter().map(|piece| piece.bytes).sum();
    (bytes > 0.0).then(|| bytes / covered(&mut pieces))
}

/// The seconds that pieces cover together.
fn covered(pieces: &mut [Piece]) -> f64 {
    pieces.sort_by(|a, b| b.from.total_cmp(&a.from));
    let (mut seconds, mut reached) = (0.0, f64::INFINITY);
    for piece in pieces.iter() {
        seconds += (piece.from.min(reached) - piece.to).max(0.0);
        reached = piece.to.min(reached);
    }
    seconds
}

/// Bytes put in place a second from the first operation's begin to `end`.
pub(super) fn on_average(job: &Job, operations: &[Versioned<Operation>], end: Timestamp) -> f64 {
    let begun = operations.iter().filter_map(|row| row.value.started).min().unwrap_or(job.created);
    let moving = between(begun, end);
    let worked = operations.iter().map(|row| &row.value).filter(|operation| operation.state != OperationState::Skipped);
    let done = worked.map(|operation| operation.progress.bytes_done).sum();
    if moving > Duration::ZERO { as_f64(done) / moving.as_secs_f64() } else { 0.0 }
}

/// Bytes that are not in place yet and may still come to be: of what failed or was cancelled nothing does.
pub(super) fn bytes_left(operations: &[Versioned<Operation>]) -> u64 {
    let open = operations.iter().map(|row| &row.value).filter(|operation| !operation.state.is_terminal());
    open.map(|operation| operation.progress.bytes_total.saturating_sub(operation.progress.bytes_done)).sum()
}
