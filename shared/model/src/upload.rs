//! Uploads in progress, as others see them.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::ids::{ImageName, ImageVersion, JobId};

/// Where an upload stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UploadState {
    /// Bytes are being sent, or the uploader died: `updated` tells.
    Running,
    /// The manifest is in the source store.
    Complete,
    /// Given up with an error.
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

/// One run of `goldfleet upload`, written at each heartbeat, for `status` and so that no chunk it relies on is collected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upload {
    /// Identifies this run.
    pub id: JobId,
    /// The image.
    pub image: ImageName,
    /// Its version.
    pub version: ImageVersion,
    /// Where it stands.
    pub state: UploadState,
    /// Bytes of the disk to look at (data ranges of the file).
    pub bytes_total: u64,
    /// Bytes looked at.
    pub bytes_read: u64,
    /// Bytes of chunks found so far, without zero runs.
    pub bytes_data: u64,
    /// Bytes sent to the store.
    pub bytes_sent: u64,
    /// Bytes of chunks that the store already had.
    pub bytes_reused: u64,
    /// Who runs it, as events name operators. None in rows of earlier releases, like the next two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// The file that is uploaded: its absolute path on the uploader's machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The disk's logical size in bytes, without the footer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Every chunk that this run began to write before this time is proven to hold the bytes that its name stands for. A
    /// chunk that it began to write later may hold others, unless the run is complete. None in rows of earlier releases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proven_until: Option<Timestamp>,
    /// When it began.
    pub started: Timestamp,
    /// Its last sign of life.
    pub updated: Timestamp,
}

impl Upload {
    /// One that begins now, of which nothing is known yet.
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
            proven_until: None,
            started: now,
            updated: now,
        }
    }
}
