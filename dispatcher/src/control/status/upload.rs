//! The progress of an upload.

use goldfleet_model::upload::{Upload, UploadState};
use serde::Serialize;

use super::phases::as_f64;

/// The progress of an upload.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct UploadStatus {
    /// The state of the upload.
    pub state: UploadState,
    /// 0 to 100.
    pub percent: f64,
    /// Bytes of the file that hold data.
    pub bytes_total: u64,
    /// Bytes of data that were read.
    pub bytes_read: u64,
    /// Bytes of the image without zero runs, as far as they were found. The same quantity as
    /// [`super::Status::data_bytes`] when the upload is complete.
    pub bytes_data: u64,
    /// Bytes sent.
    pub bytes_sent: u64,
    /// Bytes that the store already had.
    pub bytes_reused: u64,
}

impl UploadStatus {
    /// The progress by the upload's row.
    #[must_use]
    pub fn of(upload: &Upload) -> Self {
        let percent = match upload.state {
            UploadState::Complete => 100.0,
            _ if upload.bytes_total == 0 => 0.0,
            _ => (as_f64(upload.bytes_read) / as_f64(upload.bytes_total) * 100.0).min(99.9),
        };
        Self {
            state: upload.state,
            percent,
            bytes_total: upload.bytes_total,
            bytes_read: upload.bytes_read,
            bytes_data: upload.bytes_data,
            bytes_sent: upload.bytes_sent,
            bytes_reused: upload.bytes_reused,
        }
    }
}
