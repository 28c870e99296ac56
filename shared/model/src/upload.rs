//! The recorded state of uploads.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::ids::{ImageName, ImageVersion, JobId};
use super::manifest::Digest;
use super::origin::Origin;
use super::system::System;

/// The state of an upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UploadState {
    /// The uploader is sending bytes, or it died: then `updated` no longer changes.
    Running,
    /// The artifact record is in the source store.
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
    /// The uploaded file: its absolute path on the machine of the uploader. For a source in the cloud, its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The command line that resumes the upload, if it was interrupted. It contains no secrets. None in rows of earlier
    /// releases, and if no command uploads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resume: Option<String>,
    /// Where the disk comes from, if it is not a local file. None in rows of earlier releases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// The disk's logical size in bytes, without the footer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Every chunk that this run began to write before this time is proven to contain the bytes whose hash is its name.
    /// A chunk that it began to write later may contain other bytes, unless the run is complete. None in rows of
    /// earlier releases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proven_until: Option<Timestamp>,
    /// The operating system that the check found on the disk. None if it was not checked, or if none was found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<System>,
    /// The digest of the version. None until the upload is complete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// When it began.
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
            resume: None,
            origin: None,
            size: None,
            proven_until: None,
            system: None,
            digest: None,
            started: now,
            updated: now,
        }
    }
}

/// The system of the content with this digest, as recorded by the newest upload that found one. `uploads` are sorted,
/// the newest first. An upload without a check does not hide the system that an earlier upload of the same content
/// found.
#[must_use]
pub fn system_of<'a>(uploads: &'a [Upload], digest: &Digest) -> Option<&'a System> {
    uploads.iter().filter(|upload| upload.digest.as_ref() == Some(digest)).find_map(|upload| upload.system.as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::digest_of;

    fn upload(content: &[u8], system: Option<&str>) -> Upload {
        let id = JobId::new(Timestamp::UNIX_EPOCH, 1);
        let system = system.map(|name| System { name: name.to_owned(), ..System::default() });
        let begun = Upload::new(id, "golden".parse().unwrap(), "1".parse().unwrap(), Timestamp::UNIX_EPOCH);
        Upload { system, digest: Some(digest_of(content)), state: UploadState::Complete, ..begun }
    }

    #[test]
    fn a_system_belongs_to_the_content_and_not_to_the_name() {
        // The version was deleted and uploaded again with other content, and then again without a check.
        let uploads = [upload(b"new", None), upload(b"new", Some("Debian 13")), upload(b"old", Some("Debian 12"))];
        let name = |content: &[u8]| system_of(&uploads, &digest_of(content)).map(|system| system.name.as_str());
        assert_eq!(name(b"new"), Some("Debian 13"));
        assert_eq!(name(b"old"), Some("Debian 12"));
        assert_eq!(name(b"other"), None);
        let running = Upload { digest: None, ..upload(b"new", Some("Debian 14")) };
        assert_eq!(system_of(&[running], &digest_of(b"new")), None);
    }

    #[test]
    fn a_row_of_an_earlier_release_has_no_system() {
        let mut row = serde_json::to_value(upload(b"new", None)).unwrap();
        row.as_object_mut().unwrap().remove("digest");
        let read: Upload = serde_json::from_value(row).unwrap();
        assert_eq!((read.system, read.digest), (None, None));
    }
}
