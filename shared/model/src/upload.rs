//! The recorded state of uploads.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::ids::{ImageName, ImageVersion, JobId};

/// The state of an upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UploadState {
    /// The uploader is sending bytes, or it died: then `updated` no longer changes.
    Running,
    /// The manifest is in the source store.
    Complete,
    /// The upload ended with an error.
    Failed,
}

impl UploadState {
    /// The state's name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Complete => "complete",
            Self::Failed => "failed",
        }
    }
}

/// One run of `goldfleet upload`. It is written at each heartbeat. `status` shows it, and garbage collection keeps the
/// chunks that it relies on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upload {
    /// The identifier of this run.
    pub id: JobId,
    /// The image.
    pub image: ImageName,
    /// Its version.
    pub version: ImageVersion,
    /// The state.
    pub state: UploadState,
    /// The bytes of the disk to read (data ranges of the file).
    pub bytes_total: u64,
    /// The bytes read so far.
    pub bytes_read: u64,
    /// The bytes of chunks found so far, without zero runs.
    pub bytes_data: u64,
    /// The bytes sent to the store.
    pub bytes_sent: u64,
    /// The bytes of chunks that the store already had.
    pub bytes_reused: u64,
    /// Who runs it, in the form that events use for operators. None in rows of earlier releases; the same holds for
    /// `file` and `size`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// The uploaded file: its absolute path on the machine of the uploader.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The disk's logical size in bytes, without the footer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// When it started.
    pub started: Timestamp,
    /// When the row was last written.
    pub updated: Timestamp,
}

impl Upload {
    /// Creates the state of an upload that starts at `now`.
    #[must_use]
    pub fn new(id: JobId, image: ImageName, version: ImageVersion, now: Timestamp) -> Self {
        Self {
            id,
            image,
            version,
            state: UploadState::Running,
            bytes_total: 0,
            bytes_read: 0,
            bytes_data: 0,
            bytes_sent: 0,
            bytes_reused: 0,
            by: None,
            file: None,
            size: None,
            started: now,
            updated: now,
        }
    }
}
