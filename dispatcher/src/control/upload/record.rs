//! The row of an upload in progress, and its record in the store.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use goldfleet_kinds::writers::{WriterId, add_record, remove_record};
use goldfleet_model::artifact::Provenance;
use goldfleet_model::ids::JobId;
use goldfleet_model::manifest::Digest;
use goldfleet_model::store::Container;
use goldfleet_model::system::System;
use goldfleet_model::upload::{Upload, UploadState, system_of};
use goldfleet_ports::chunk_store::MAX_WRITE_DELAY;
use goldfleet_ports::clock::elapsed;
use goldfleet_ports::error::{PortError, PortResult};
use goldfleet_ports::retry::retry_transient;
use goldfleet_sources::ArtifactSource;
use jiff::Timestamp;

use super::UploadRequest;
use crate::control::context::ControlContext;

/// The time between two writes of the row. It is shorter if the grace period is short.
const HEARTBEAT: Duration = Duration::from_secs(2);

/// The minimum number of heartbeats within the time after which a garbage collection takes the upload for ended.
const MIN_HEARTBEATS_PER_GRACE: u32 = 16;

/// The counts of an upload. They are passed to the watcher, and written to the table at each heartbeat.
pub(super) struct UploadRecord<'a> {
    control: &'a ControlContext,
    row: Mutex<Upload>,
    signs: Mutex<SeenState>,
    /// The start of each chunk write that is not proven yet.
    unproven: Mutex<Vec<Timestamp>>,
    /// When the record in the store was last written. None before the first chunk is written.
    recorded: tokio::sync::Mutex<Option<Timestamp>>,
    grace: Duration,
    watch: &'a (dyn Fn(&Upload) + Sync),
}

/// The absolute path of a file, or the name of another source.
fn location(source: &dyn ArtifactSource) -> Option<String> {
    let location = source.location();
    if source.origin().is_some() {
        return Some(location.display().to_string());
    }
    std::path::absolute(location).ok().map(|file| file.display().to_string())
}

/// The state of the row that other processes may have read.
struct SeenState {
    /// The time in the row that was committed last.
    last: Timestamp,
    /// Whether the row was ever so old that a garbage collection may have taken the upload for ended.
    lapsed: bool,
}

impl<'a> UploadRecord<'a> {
    /// The row of the upload of a disk of `size` bytes with this system. It is first written by
    /// [`UploadRecord::renew`].
    pub(super) fn new(
        control: &'a ControlContext,
        (request, id): (&UploadRequest, JobId),
        size: u64,
        system: Option<&System>,
        watch: &'a (dyn Fn(&Upload) + Sync),
    ) -> Self {
        let now = control.ports.clock.now();
        let row = Upload {
            by: Some(control.jobs.actor.clone()),
            file: location(request.source.as_ref()),
            resume: control.command.clone(),
            origin: request.source.origin().cloned(),
            size: Some(size),
            system: system.map(System::to_stored),
            ..Upload::new(id, request.image.clone(), request.version.clone(), now)
        };
        let signs = Mutex::new(SeenState { last: now, lapsed: false });
        let grace = control.config.cleanup.chunk_grace.get();
        Self {
            control,
            row: Mutex::new(row),
            signs,
            unproven: Mutex::default(),
            recorded: tokio::sync::Mutex::default(),
            grace,
            watch,
        }
    }

    /// Identifies the upload among those that write to the store.
    pub(super) fn id(&self) -> WriterId {
        WriterId::Upload(self.row().id.clone())
    }

    /// Writes the row before chunks are listed. Chunks that are listed or written from now on are not collected until
    /// the upload has ended or [expired](Self::has_expired).
    pub(super) async fn renew(&self) -> PortResult<()> {
        retry_transient(self.control.ports.clock.as_ref(), PortError::is_retryable, || {
            self.write(UploadState::Running)
        })
        .await?;
        let late = self.is_late(self.seen().last);
        self.seen().lapsed = late;
        // Counts that depend on the list of chunks start again. Sent bytes are not reset.
        let mut row = self.row();
        (row.bytes_read, row.bytes_data, row.bytes_reused) = (0, 0, 0);
        Ok(())
    }

    /// Whether a garbage collection may have taken the upload for ended and deleted chunks that it needs, because the
    /// machine was suspended or the table could not be reached. A garbage collection waits for a whole grace period.
    /// Half of it is reserved for clock differences, and for the time between this check and the action that follows
    /// it.
    pub(super) fn has_expired(&self) -> bool {
        let signs = self.seen();
        signs.lapsed || self.is_late(signs.last)
    }

    fn is_late(&self, last: Timestamp) -> bool {
        elapsed(last, self.control.ports.clock.now()) > self.grace / 2
    }

    fn row(&self) -> MutexGuard<'_, Upload> {
        // No code panics while it holds this lock or the others, and the values are consistent in any case.
        self.row.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unproven(&self) -> MutexGuard<'_, Vec<Timestamp>> {
        self.unproven.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn seen(&self) -> MutexGuard<'_, SeenState> {
        self.signs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn write(&self, state: UploadState) -> PortResult<Upload> {
        if state == UploadState::Running && self.recorded.lock().await.is_some() {
            self.keep_recorded().await?;
        }
        let row = self.with_time(state);
        self.control.ports.table.put_upload(&row).await?;
        let mut signs = self.seen();
        signs.lapsed |= self.is_late(signs.last);
        signs.last = row.updated;
        Ok(row)
    }

    /// Changes the counts and passes them to the watcher.
    pub(super) fn count(&self, change: impl FnOnce(&mut Upload)) {
        let mut row = self.row();
        change(&mut row);
        (self.watch)(&row);
    }

    /// Records that the write of a chunk begins. Until [`UploadRecord::end_write`] is called with the returned time,
    /// the row says that chunks of this upload are not proven from that time on. A write that fails or is dropped never
    /// ends: its request may still take effect.
    pub(super) fn begin_write(&self) -> Timestamp {
        // The clock is read under the lock, so that no row states a later time and lacks this write.
        let mut unproven = self.unproven();
        let begun = self.control.ports.clock.now();
        unproven.push(begun);
        begun
    }

    /// Records that a chunk is proven. `begun` is the time at which its write began.
    pub(super) fn end_write(&self, begun: Timestamp) {
        let mut unproven = self.unproven();
        if let Some(index) = unproven.iter().position(|other| *other == begun) {
            unproven.swap_remove(index);
        }
    }

    /// Prepares the write of a chunk: the store has the record of this upload, and its row is recent. Other writers do
    /// not expect that a write takes effect later than [`MAX_WRITE_DELAY`] after the time in the row. So a write begins
    /// only while the row is at most half as old, and no request takes the other half.
    pub(super) async fn keep_recent(&self) -> PortResult<()> {
        self.keep_recorded().await?;
        if self.is_outdated(self.seen().last) {
            self.write(UploadState::Running).await?;
        }
        Ok(())
    }

    /// Writes the record in the store, or renews it if it is outdated. If the row is outdated, another writer may have
    /// seen that this upload had ended, and have removed its record. So this is done before the row is written.
    async fn keep_recorded(&self) -> PortResult<()> {
        let mut recorded = self.recorded.lock().await;
        let now = self.control.ports.clock.now();
        if recorded.is_none_or(|at| self.is_outdated(at.min(self.seen().last))) {
            add_record(&self.control.ports, &self.store(), &self.id()).await?;
            *recorded = Some(now);
        }
        Ok(())
    }

    fn is_outdated(&self, written: Timestamp) -> bool {
        elapsed(written, self.control.ports.clock.now()) > MAX_WRITE_DELAY / 2
    }

    fn store(&self) -> Container {
        self.control.config.source.store().container()
    }

    /// Removes the record from the store, unless there may be chunks that this upload has not proven.
    async fn remove_record(&self) {
        let is_proven = self.unproven().is_empty();
        if is_proven && self.recorded.lock().await.take().is_some() {
            remove_record(&self.control.ports, &self.store(), &self.id()).await;
        }
    }

    fn with_time(&self, state: UploadState) -> Upload {
        let mut row = self.row();
        let unproven = self.unproven();
        let now = self.control.ports.clock.now();
        row.state = state;
        row.updated = now;
        row.proven_until = Some(unproven.iter().min().copied().unwrap_or(now));
        row.clone()
    }

    /// Writes the row at each heartbeat. Runs until it is dropped.
    pub(super) async fn beat(&self) {
        let beat = HEARTBEAT.min(self.grace / MIN_HEARTBEATS_PER_GRACE);
        loop {
            self.control.ports.clock.sleep(beat).await;
            if let Err(error) = self.write(UploadState::Running).await {
                tracing::warn!(%error, "the upload's row could not be written");
            }
        }
    }

    /// Takes over the system that an earlier upload of the same content found, if this one has not found one. The row
    /// of the newest complete upload of a version therefore contains the system, and readers need no other row.
    pub(super) async fn inherit_system(&self, digest: &Digest) -> PortResult<()> {
        if self.row().system.is_some() {
            return Ok(());
        }
        let uploads = self.control.ports.table.list_uploads().await?.rows;
        self.row().system = system_of(&uploads, digest).cloned();
        Ok(())
    }

    /// How the version was uploaded, for its artifact record.
    pub(super) fn provenance(&self) -> Provenance {
        let uploaded = self.control.ports.clock.now();
        let row = self.row();
        let (upload, source, system) = (row.id.clone(), row.file.clone(), row.system.clone());
        Provenance { uploaded, upload, by: self.control.jobs.actor.clone(), source, system }
    }

    /// Writes the end, with the digest of the content.
    pub(super) async fn complete(&self, digest: Digest) -> PortResult<Upload> {
        self.row().digest = Some(digest);
        let row = self.write(UploadState::Complete).await?;
        self.remove_record().await;
        Ok(row)
    }

    /// Writes that the upload has failed. If this fails too, the age of the row shows it.
    pub(super) async fn fail(&self) {
        if let Err(error) = self.write(UploadState::Failed).await {
            tracing::warn!(%error, "the upload's row could not be written");
        }
        self.remove_record().await;
    }
}
