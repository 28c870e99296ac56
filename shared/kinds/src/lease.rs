//! The lease under which a step runs.

use async_trait::async_trait;
use goldfleet_model::chunk_set::ChunkSet;
use goldfleet_model::document::Document;
use goldfleet_model::operation::TransferProgress;
use uuid::Uuid;

/// Why a step has to stop before its end. A later reason overrides an earlier one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum StopReason {
    /// The worker is shutting down.
    Drain,
    /// An operator cancelled the operation.
    Cancel,
    /// The lease is lost. Nothing that is still done may be recorded.
    Lost,
}

/// A lease in hand, as a step sees it.
#[async_trait]
pub trait Lease: Send + Sync {
    /// To be called before every effect: an error means that nothing more may be done.
    ///
    /// # Errors
    /// The reason to stop. A process that was paused past its lease learns it here from the clock.
    fn ensure_held(&self) -> Result<(), StopReason>;

    /// Returns when the step has to stop for one of these reasons.
    async fn stop_requested(&self, reasons: &[StopReason]) -> StopReason;

    /// The progress made so far.
    fn progress(&self) -> TransferProgress;

    /// Begins to count: `total` bytes of chunks in all, of which those in `done` (`bytes` bytes) are in place; in the blob of
    /// this incarnation, if the chunks are written into one blob.
    fn set_progress(&self, incarnation: Option<Uuid>, done: ChunkSet, bytes: u64, total: u64);

    /// Records a chunk of `bytes` bytes as in place.
    fn record_chunk(&self, chunk: u32, bytes: u64);

    /// Counts bytes that were transferred.
    fn add_bytes_moved(&self, bytes: u64);

    /// Writes the operation's output to its row, at once: whoever runs the operation next must find it.
    ///
    /// # Errors
    /// [`StopReason::Lost`] if the lease is lost or the row cannot be written.
    async fn put_output(&self, output: Document) -> Result<(), StopReason>;
}
