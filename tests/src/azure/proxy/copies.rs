//! The copies that rules keep pending, and their progress.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use hyper::StatusCode;
use hyper::header::HeaderMap;
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::answer::{Refusal, Refused, put};
use super::lock;
use super::rules::CopyEnd;
use super::source::{Extent, Source};

/// The values of `x-ms-copy-status`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Status {
    Pending,
    Success,
    Aborted,
    Failed(String),
}

/// A copy that a rule keeps pending.
#[derive(Debug)]
pub(super) struct Copy {
    pub(super) id: String,
    pub(super) source: Source,
    pub(super) extent: Extent,
    /// The path and query of the destination.
    pub(super) target: String,
    /// The headers for the creation of the destination.
    pub(super) creation: HeaderMap,
    pub(super) end: CopyEnd,
    /// The number of copied bytes of the source, including zeros.
    pub(super) done: AtomicU64,
    progress: Mutex<CopyProgress>,
    /// Cancelled to stop the copy.
    pub(super) stop: CancellationToken,
    /// Cancelled when no more bytes are copied.
    pub(super) ended: CancellationToken,
}

#[derive(Debug)]
struct CopyProgress {
    polls: u32,
    polled: u32,
    moving: bool,
    status: Status,
    completed: Option<Timestamp>,
}

/// What a poll of a destination causes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PollResult {
    /// Nothing changes.
    Nothing,
    /// The bytes must be copied now.
    Move,
    /// The bytes are being copied.
    Moving,
}

impl Copy {
    pub(super) fn new(
        source: Source,
        extent: Extent,
        target: String,
        creation: HeaderMap,
        (polls, end): (u32, CopyEnd),
        stop: CancellationToken,
    ) -> Self {
        let progress = CopyProgress { polls, polled: 0, moving: false, status: Status::Pending, completed: None };
        Self {
            id: Uuid::new_v4().to_string(),
            source,
            extent,
            target,
            creation,
            end,
            done: AtomicU64::new(0),
            progress: Mutex::new(progress),
            stop,
            ended: CancellationToken::new(),
        }
    }

    /// Counts a poll of the destination.
    pub(super) fn poll(&self) -> PollResult {
        let mut progress = lock(&self.progress);
        if progress.status != Status::Pending {
            PollResult::Nothing
        } else if progress.polled < progress.polls {
            progress.polled += 1;
            PollResult::Nothing
        } else if progress.moving {
            PollResult::Moving
        } else {
            progress.moving = true;
            PollResult::Move
        }
    }

    pub(super) fn is_pending(&self) -> bool {
        lock(&self.progress).status == Status::Pending
    }

    /// Sets the final status, unless there is one. Returns whether this call set it.
    pub(super) fn finish(&self, status: Status) -> bool {
        let mut progress = lock(&self.progress);
        if progress.status != Status::Pending {
            return false;
        }
        progress.status = status;
        progress.completed = Some(Timestamp::now());
        true
    }

    /// Stops the copy, and waits until no bytes are copied.
    pub(super) async fn abort(&self) -> Refused<()> {
        if !self.finish(Status::Aborted) {
            let message = "There is currently no pending copy operation.";
            return Err(Refusal::new(StatusCode::CONFLICT, "NoPendingCopyOperation", message));
        }
        self.stop.cancel();
        let moving = lock(&self.progress).moving;
        if moving {
            self.ended.cancelled().await;
        }
        Ok(())
    }

    /// Adds the status and progress of the copy to a response.
    pub(super) fn describe(&self, headers: &mut HeaderMap) {
        let progress = lock(&self.progress);
        let (status, reason) = match &progress.status {
            Status::Pending => ("pending", None),
            Status::Success => ("success", None),
            Status::Aborted => ("aborted", None),
            Status::Failed(reason) => ("failed", Some(reason)),
        };
        put(headers, "x-ms-copy-id", &self.id);
        put(headers, "x-ms-copy-source", &self.source.url);
        put(headers, "x-ms-copy-status", status);
        put(headers, "x-ms-copy-progress", &format!("{}/{}", self.copied(&progress), self.extent.length));
        if let Some(reason) = reason {
            put(headers, "x-ms-copy-status-description", reason);
        }
        if let Some(time) =
            progress.completed.and_then(|time| DateTimePrinter::new().timestamp_to_rfc9110_string(&time).ok())
        {
            put(headers, "x-ms-copy-completion-time", &time);
        }
    }

    /// While the copy is pending, its reported progress increases evenly.
    fn copied(&self, progress: &CopyProgress) -> u64 {
        let seeming = match progress.status {
            Status::Success => self.extent.length,
            _ => self.extent.length / (u64::from(progress.polls) + 1) * u64::from(progress.polled),
        };
        seeming.max(self.done.load(Ordering::Relaxed))
    }
}

/// The copies that rules keep pending, by the paths of their destinations.
#[derive(Debug, Default)]
pub(super) struct Copies(Mutex<HashMap<String, Arc<Copy>>>);

impl Copies {
    pub(super) fn of(&self, path: &str) -> Option<Arc<Copy>> {
        lock(&self.0).get(path).cloned()
    }

    pub(super) fn add(&self, path: &str, copy: Arc<Copy>) {
        lock(&self.0).insert(path.to_owned(), copy);
    }

    /// Forgets a copy whose destination was written again.
    pub(super) fn forget(&self, path: &str) {
        lock(&self.0).remove(path);
    }
}
