//! The lease under which a step runs.

use async_trait::async_trait;
use goldfleet_model::chunk_set::ChunkSet;
use goldfleet_model::document::Document;
use goldfleet_model::operation::TransferProgress;
use uuid::Uuid;

/// The reason why a step must stop early. A later reason in this list overrides an earlier one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum StopReason {
    /// The worker is shutting down.
    Drain,
    /// An operator cancelled the operation.
    Cancel,
    /// The lease is lost. Nothing may be recorded any more.
    Lost,
}

/// The interface of a lease for a step.
#[async_trait]
pub trait Lease: Send + Sync {
    /// Must be called before every effect. After an error the step must have no further effects.
    ///
    /// # Errors
    /// The reason to stop. A process that was paused for longer than its lease detects this here from the clock.
    fn ensure_held(&self) -> Result<(), StopReason>;

    /// Waits until the step must stop for one of these reasons.
    async fn stop_requested(&self, reasons: &[StopReason]) -> StopReason;

    /// The current progress.
    fn progress(&self) -> TransferProgress;

    /// Starts the progress: chunks of `total` bytes, of which those in `done` with `bytes` bytes are in place. If the
    /// chunks are written into one blob, `incarnation` identifies it.
    fn set_progress(&self, incarnation: Option<Uuid>, done: ChunkSet, bytes: u64, total: u64);

    /// Records that a chunk of `bytes` bytes is in place.
    fn record_chunk(&self, chunk: u32, bytes: u64);

    /// Adds to the number of transferred bytes.
    fn add_bytes_moved(&self, bytes: u64);

    /// Writes the operation's output to its row immediately, because the next attempt must find it.
    ///
    /// # Errors
    /// [`StopReason::Lost`] if the lease is lost or the row cannot be written.
    async fn put_output(&self, output: Document) -> Result<(), StopReason>;
}
