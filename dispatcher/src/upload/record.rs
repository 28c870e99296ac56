//! The row of an upload in progress.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use goldfleet_shared::model::ids::JobId;
use goldfleet_shared::model::upload::{Upload, UploadState};
use goldfleet_shared::ports::error::PortResult;

use super::UploadRequest;
use crate::desk::Desk;

/// The time between two writes of the row.
const BEAT: Duration = Duration::from_secs(2);

/// The counts of an upload, shown to whoever watches and written to the table once a beat.
pub(super) struct Record<'a> {
    row: Mutex<Upload>,
    watch: &'a (dyn Fn(&Upload) + Sync),
}

impl<'a> Record<'a> {
    /// Begins the row. From now on no chunk that is written or renewed is collected.
    pub(super) async fn begin(
        desk: &Desk,
        request: &UploadRequest,
        watch: &'a (dyn Fn(&Upload) + Sync),
    ) -> PortResult<Self> {
        let now = desk.ports.clock.now();
        let row = Upload {
            id: JobId::new(now),
            image: request.image.clone(),
            version: request.version.clone(),
            state: UploadState::Running,
            bytes_total: 0,
            bytes_read: 0,
            bytes_data: 0,
            bytes_sent: 0,
            bytes_reused: 0,
            started: now,
            updated: now,
        };
        desk.ports.table.put_upload(&row).await?;
        Ok(Self { row: Mutex::new(row), watch })
    }

    /// Changes the counts, and shows them.
    pub(super) fn count(&self, change: impl FnOnce(&mut Upload)) {
        let mut row = self.row.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut row);
        (self.watch)(&row);
    }

    fn stamped(&self, desk: &Desk, state: UploadState) -> Upload {
        let mut row = self.row.lock().unwrap_or_else(PoisonError::into_inner);
        row.state = state;
        row.updated = desk.ports.clock.now();
        row.clone()
    }

    /// Writes the row once a beat, for as long as it is polled.
    pub(super) async fn beat(&self, desk: &Desk) {
        loop {
            desk.ports.clock.sleep(BEAT).await;
            let row = self.stamped(desk, UploadState::Running);
            if let Err(error) = desk.ports.table.put_upload(&row).await {
                tracing::warn!(%error, "the upload's row could not be written");
            }
        }
    }

    /// Writes the end.
    pub(super) async fn complete(self, desk: &Desk) -> PortResult<Upload> {
        let row = self.stamped(desk, UploadState::Complete);
        desk.ports.table.put_upload(&row).await?;
        Ok(row)
    }

    /// Writes that it was given up; if that fails too, its age tells.
    pub(super) async fn fail(self, desk: &Desk) {
        let row = self.stamped(desk, UploadState::Failed);
        if let Err(error) = desk.ports.table.put_upload(&row).await {
            tracing::warn!(%error, "the upload's row could not be written");
        }
    }
}
