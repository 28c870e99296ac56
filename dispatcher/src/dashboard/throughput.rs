//! Bytes over time: as observed while a page is connected, and before that as recorded in the rows.

use goldfleet_model::operation::Operation;
use goldfleet_ports::Versioned;
use goldfleet_ports::clock::{after, elapsed};
use jiff::Timestamp;
use serde::Serialize;
use std::time::Duration;

/// The number of points of a series.
const SERIES_POINTS: usize = 60;

/// The maximum number of spans. Beyond it, neighbouring spans are merged.
const MAX_SPANS: usize = 2000;

/// Bytes over time: a rate for each of several intervals of equal length.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Series {
    /// The start of the first interval.
    pub from: Timestamp,
    /// The length of an interval in seconds.
    pub step_seconds: f64,
    /// Bytes per second in each interval.
    pub bytes_per_second: Vec<u64>,
}

/// Bytes that arrived between two times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct ByteSpan {
    from: Timestamp,
    to: Timestamp,
    bytes: u64,
}

/// What is known about when a job's bytes arrived.
#[derive(Debug, Clone, Default)]
pub struct Throughput {
    pieces: Vec<ByteSpan>,
    last: Option<(Timestamp, u64)>,
}

impl Throughput {
    /// Records the rows as they are at `now`.
    pub fn observe(&mut self, rows: &[Versioned<Operation>], now: Timestamp) {
        let moved = rows.iter().map(|row| row.value.progress.bytes_moved).sum();
        match self.last {
            None => self.pieces = rows.iter().filter_map(|row| span_of_row(&row.value)).collect(),
            Some((at, before)) if moved > before => {
                self.pieces.push(ByteSpan { from: at, to: now, bytes: moved - before });
            }
            Some(_) => {}
        }
        self.last = Some((now, moved));
        if self.pieces.len() > MAX_SPANS {
            self.merge_neighbours();
        }
    }

    /// Merges neighbouring spans. A series has fewer points than there are spans then.
    fn merge_neighbours(&mut self) {
        self.pieces.sort_by_key(|piece| piece.from);
        let joined = self.pieces.chunks(2).filter_map(|pair| {
            let from = pair.iter().map(|piece| piece.from).min()?;
            let to = pair.iter().map(|piece| piece.to).max()?;
            Some(ByteSpan { from, to, bytes: pair.iter().map(|piece| piece.bytes).sum() })
        });
        self.pieces = joined.collect();
    }

    /// The series from `begun` to `end`.
    #[must_use]
    pub fn series(&self, begun: Timestamp, end: Timestamp) -> Series {
        let whole = elapsed(begun, end).max(Duration::from_secs(1));
        let step = whole.as_secs_f64() / SERIES_POINTS as f64;
        let mut bytes = [0.0; SERIES_POINTS];
        for piece in &self.pieces {
            distribute(*piece, begun, step, &mut bytes);
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates, and is shown only")]
        let rate = |bytes: f64| (bytes / step) as u64;
        Series { from: begun, step_seconds: step, bytes_per_second: bytes.into_iter().map(rate).collect() }
    }
}

/// The span of a row: its bytes arrived between its first claim and its last change.
fn span_of_row(operation: &Operation) -> Option<ByteSpan> {
    let bytes = operation.progress.bytes_moved;
    let from = operation.started.filter(|_| bytes > 0)?;
    Some(ByteSpan { from, to: operation.updated.max(after(from, Duration::from_millis(1))), bytes })
}

/// Distributes the bytes of a span over the intervals that it overlaps.
#[expect(clippy::cast_precision_loss, reason = "shown with few digits")]
fn distribute(piece: ByteSpan, begun: Timestamp, step: f64, bytes: &mut [f64; SERIES_POINTS]) {
    let at = |moment: Timestamp| moment.duration_since(begun).as_secs_f64() / step;
    let (from, to) = (at(piece.from).max(0.0), at(piece.to).min(SERIES_POINTS as f64));
    let length = (to - from).max(1e-9);
    for (n, bucket) in bytes.iter_mut().enumerate() {
        let share = (to.min(n as f64 + 1.0) - from.max(n as f64)).max(0.0) / length;
        *bucket += piece.bytes as f64 * share;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + second).unwrap()
    }

    fn sum(series: &Series) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a test")]
        series.bytes_per_second.iter().map(|rate| *rate as f64 * series.step_seconds).sum()
    }

    #[test]
    fn bytes_are_distributed_over_their_time_span() {
        let piece = ByteSpan { from: at(10), to: at(30), bytes: 2_000_000 };
        let history = Throughput { pieces: vec![piece], last: None };
        let series = history.series(at(0), at(60));
        assert!((series.step_seconds - 1.0).abs() < 1e-9);
        assert_eq!(series.bytes_per_second[9], 0);
        assert_eq!(series.bytes_per_second[10], 100_000);
        assert_eq!(series.bytes_per_second[29], 100_000);
        assert_eq!(series.bytes_per_second[30], 0);
        assert!((sum(&series) - 2e6).abs() < 100.0);
    }

    #[test]
    fn merging_spans_keeps_total_bytes() {
        let pieces =
            (0..=i64::try_from(MAX_SPANS).unwrap()).map(|n| ByteSpan { from: at(n), to: at(n + 1), bytes: 7_000 });
        let mut history = Throughput { pieces: pieces.collect(), last: Some((at(0), 0)) };
        history.observe(&[], at(3000));
        assert!(history.pieces.len() <= MAX_SPANS / 2 + 1);
        let all = sum(&history.series(at(0), at(2001)));
        assert!((all - 7e3 * 2001.0).abs() < 7e3, "{all}");
    }
}
