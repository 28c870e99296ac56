//! The row of an upload in progress.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use goldfleet_model::ids::JobId;
use goldfleet_model::upload::{Upload, UploadState};
use goldfleet_ports::chance;
use goldfleet_ports::clock::between;
use goldfleet_ports::error::{PortError, PortResult};
use goldfleet_ports::retry::retrying;
use jiff::Timestamp;

use super::UploadRequest;
use crate::control::desk::Desk;

/// The time between two writes of the row; it is shorter where the grace period is short.
const BEAT: Duration = Duration::from_secs(2);

/// How many beats there are at least before a collection may think that the upload has ended.
const BEATS_A_GRACE_PERIOD: u32 = 16;

/// The counts of an upload, shown to whoever watches and written to the table once a beat.
pub(super) struct Record<'a> {
    desk: &'a Desk,
    row: Mutex<Upload>,
    signs: Mutex<Signs>,
    grace: Duration,
    watch: &'a (dyn Fn(&Upload) + Sync),
}

/// What others have seen of the upload.
struct Signs {
    /// What the row says that landed last.
    last: Timestamp,
    /// Whether a row was so old, before the next landed, that a collection may have thought the upload had ended.
    lapsed: bool,
}

impl<'a> Record<'a> {
    /// A row that is not written yet: [`Record::renew`] does.
    pub(super) fn new(desk: &'a Desk, request: &UploadRequest, watch: &'a (dyn Fn(&Upload) + Sync)) -> Self {
        let now = desk.ports.clock.now();
        let row = Upload::begun(JobId::new(now, chance::number()), request.image.clone(), request.version.clone(), now);
        let signs = Mutex::new(Signs { last: now, lapsed: false });
        Self { desk, row: Mutex::new(row), signs, grace: desk.config.cleanup.chunk_grace.get(), watch }
    }

    /// Writes the row before chunks are listed: none that is found then, or written from now on, is collected until the
    /// upload has ended or [lapsed](Self::has_lapsed).
    pub(super) async fn renew(&self) -> PortResult<()> {
        retrying(self.desk.ports.clock.as_ref(), PortError::is_retryable, || self.write(UploadState::Running)).await?;
        let late = self.is_late(self.signs().last);
        self.signs().lapsed = late;
        // What an earlier list was good for is counted anew; what was sent was sent.
        let mut row = self.row.lock().unwrap_or_else(PoisonError::into_inner);
        (row.bytes_read, row.bytes_data, row.bytes_reused) = (0, 0, 0);
        Ok(())
    }

    /// Whether a collection may have found the row so old that it thought the upload had ended, and deleted chunks that it
    /// relies on: the machine slept, or the table could not be reached. A collection waits for a whole grace period; half of
    /// one is left for clocks that differ, and for what is done between this look and its consequence.
    pub(super) fn has_lapsed(&self) -> bool {
        let signs = self.signs();
        signs.lapsed || self.is_late(signs.last)
    }

    fn is_late(&self, last: Timestamp) -> bool {
        between(last, self.desk.ports.clock.now()) > self.grace / 2
    }

    fn signs(&self) -> MutexGuard<'_, Signs> {
        self.signs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn write(&self, state: UploadState) -> PortResult<Upload> {
        let row = self.stamped(state);
        self.desk.ports.table.put_upload(&row).await?;
        let mut signs = self.signs();
        signs.lapsed |= self.is_late(signs.last);
        signs.last = row.updated;
        Ok(row)
    }

    /// Changes the counts, and shows them.
    pub(super) fn count(&self, change: impl FnOnce(&mut Upload)) {
        let mut row = self.row.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut row);
        (self.watch)(&row);
    }

    fn stamped(&self, state: UploadState) -> Upload {
        let mut row = self.row.lock().unwrap_or_else(PoisonError::into_inner);
        row.state = state;
        row.updated = self.desk.ports.clock.now();
        row.clone()
    }

    /// Writes the row once a beat, for as long as it is polled.
    pub(super) async fn beat(&self) {
        let beat = BEAT.min(self.grace / BEATS_A_GRACE_PERIOD);
        loop {
            self.desk.ports.clock.sleep(beat).await;
            if let Err(error) = self.write(UploadState::Running).await {
                tracing::warn!(%error, "the upload's row could not be written");
            }
        }
    }

    /// Writes the end.
    pub(super) async fn complete(&self) -> PortResult<Upload> {
        self.write(UploadState::Complete).await
    }

    /// Writes that it was given up; if that fails too, its age tells.
    pub(super) async fn fail(&self) {
        if let Err(error) = self.write(UploadState::Failed).await {
            tracing::warn!(%error, "the upload's row could not be written");
        }
    }
}
