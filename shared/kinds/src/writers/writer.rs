//! When a writer may have left chunks that are not proven.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use goldfleet_model::ids::JobId;
use goldfleet_model::operation::{Operation, OperationId, OperationState};
use goldfleet_model::upload::{Upload, UploadState};
use goldfleet_ports::blob_store::ListedBlob;
use goldfleet_ports::chunk_store::{MAX_CLOCK_DIFFERENCE, MAX_WRITE_DELAY};
use goldfleet_ports::clock::{after, before, elapsed};
use jiff::Timestamp;

/// The age from which a record without a row belongs to a writer that has ended. Its job was removed long after its
/// end, or its row is in the job table of another fleet. The record of a seed is as old as its last attempt, and an
/// upload renews its record while it runs.
const MAX_AGE_WITHOUT_ROW: Duration = Duration::from_secs(24 * 60 * 60);

/// The part of the names of records that distinguishes uploads from jobs.
const UPLOADS: &str = "uploads/";

/// Identifies a writer. As text, it is the part of the name of its record after [`WRITERS`](super::WRITERS).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WriterId {
    /// An operation that fills a store.
    Operation {
        /// Its job.
        job: JobId,
        /// Its id in the job.
        operation: OperationId,
    },
    /// An upload.
    Upload(JobId),
}

impl WriterId {
    /// The writer that this operation is.
    #[must_use]
    pub fn of(operation: &Operation) -> Self {
        Self::Operation { job: operation.job.clone(), operation: operation.id.clone() }
    }

    /// The reverse of its text. None for a blob that is not a record.
    pub(super) fn from_suffix(text: &str) -> Option<Self> {
        if let Some(upload) = text.strip_prefix(UPLOADS) {
            return Some(Self::Upload(upload.parse().ok()?));
        }
        let (job, operation) = text.split_once('/')?;
        Some(Self::Operation { job: job.parse().ok()?, operation: operation.parse().ok()? })
    }

    /// When the writer began, at the latest, if nothing else is known about it.
    fn begun(&self) -> Timestamp {
        let (Self::Operation { job, .. } | Self::Upload(job)) = self;
        job.requested_at().unwrap_or(Timestamp::MIN)
    }
}

impl fmt::Display for WriterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Operation { job, operation } => write!(f, "{job}/{operation}"),
            Self::Upload(id) => write!(f, "{UPLOADS}{id}"),
        }
    }
}

/// The row of a writer.
#[derive(Debug, Clone)]
pub enum WriterRow {
    /// Of an operation.
    Operation(Box<Operation>),
    /// Of an upload.
    Upload(Box<Upload>),
}

/// A writer that has a record in a store.
#[derive(Debug, Clone)]
pub struct Writer {
    /// Identifies it.
    pub id: WriterId,
    /// Its record, as listed.
    pub record: ListedBlob,
    /// Its row. None if the table does not have it.
    pub row: Option<WriterRow>,
}

impl Writer {
    /// Whether all its chunks are proven. Its record is left only because it could not be removed.
    #[must_use]
    pub fn has_proven_all(&self) -> bool {
        match &self.row {
            Some(WriterRow::Operation(operation)) => operation.state == OperationState::Succeeded,
            Some(WriterRow::Upload(upload)) => match upload.state {
                // Its manifest was written after its last chunk was proven.
                UploadState::Complete => true,
                UploadState::Failed => proven_until(upload) == upload.updated,
                UploadState::Running => false,
            },
            None => false,
        }
    }

    /// When it may have written chunks that are not proven, by the clock of the store.
    #[must_use]
    pub fn times(&self) -> RangeInclusive<Timestamp> {
        let (begun, ended) = match &self.row {
            Some(WriterRow::Operation(operation)) => {
                let begun = operation.started.unwrap_or(operation.created);
                (begun, operation.state.is_terminal().then_some(operation.updated))
            }
            // It writes its row again before a chunk, if the row is old: see `UploadRecord::keep_recent`.
            Some(WriterRow::Upload(upload)) => (proven_until(upload), Some(upload.updated)),
            None => (self.id.begun(), None),
        };
        let until = ended.map(|ended| after(after(ended, MAX_WRITE_DELAY), MAX_CLOCK_DIFFERENCE));
        before(begun, MAX_CLOCK_DIFFERENCE)..=until.unwrap_or(Timestamp::MAX)
    }

    /// Whether it may have written a chunk and not proven it that the store last changed at this time.
    #[must_use]
    pub fn may_have_left(&self, modified: Timestamp) -> bool {
        !self.has_proven_all() && self.times().contains(&modified)
    }

    /// Whether none of its writes can take effect any more, unless it runs again.
    #[must_use]
    pub fn has_ended(&self, now: Timestamp) -> bool {
        match &self.row {
            Some(WriterRow::Operation(operation)) => operation.state.is_terminal() && *self.times().end() < now,
            Some(WriterRow::Upload(_)) => *self.times().end() < now,
            None => elapsed(self.record.modified, now) > MAX_AGE_WITHOUT_ROW,
        }
    }
}

/// Until when the chunks of an upload are proven.
fn proven_until(upload: &Upload) -> Timestamp {
    upload.proven_until.unwrap_or(upload.started)
}

#[cfg(test)]
mod tests {
    use goldfleet_ports::ETag;

    use super::*;

    fn at(minutes: u64) -> Timestamp {
        after(Timestamp::UNIX_EPOCH, Duration::from_secs(60 * minutes))
    }

    /// A writer whose record was written at minute 150.
    fn writer(id: WriterId, row: Option<WriterRow>) -> Writer {
        let name = format!("{}{id}", super::super::WRITERS);
        Writer { id, record: ListedBlob { name, length: 0, etag: ETag(String::new()), modified: at(150) }, row }
    }

    /// An upload that began at minute 100, proved its chunks until minute 200, and wrote its row last at minute 201.
    fn upload(state: UploadState) -> Upload {
        let begun = Upload::new(JobId::new(at(100), 1), "golden".parse().unwrap(), "1".parse().unwrap(), at(100));
        Upload { state, proven_until: Some(at(200)), updated: at(201), ..begun }
    }

    fn of(upload: Upload) -> Writer {
        writer(WriterId::Upload(upload.id.clone()), Some(WriterRow::Upload(Box::new(upload))))
    }

    /// The minutes in which its chunks may be unproven.
    fn unproven(writer: &Writer) -> Vec<u64> {
        (0..400).filter(|minute| writer.may_have_left(at(*minute))).collect()
    }

    #[test]
    fn chunks_since_last_proof_of_unfinished_upload_are_unproven() {
        for state in [UploadState::Running, UploadState::Failed] {
            let writer = of(upload(state));
            assert_eq!(unproven(&writer), (195..=266).collect::<Vec<_>>(), "{state:?}");
            assert!(!writer.has_ended(at(266)) && writer.has_ended(at(267)), "{state:?}");
        }
    }

    #[test]
    fn chunks_of_ended_uploads_are_proven() {
        let none = Vec::<u64>::new();
        assert_eq!(unproven(&of(upload(UploadState::Complete))), none);
        assert_eq!(unproven(&of(Upload { proven_until: Some(at(201)), ..upload(UploadState::Failed) })), none);
    }

    #[test]
    fn all_chunks_of_writer_without_row_are_unproven() {
        let writer = writer(WriterId::Upload(JobId::new(at(100), 1)), None);
        assert_eq!(unproven(&writer), (95..400).collect::<Vec<_>>());
        let day = 24 * 60;
        assert!(!writer.has_ended(at(150 + day)) && writer.has_ended(at(151 + day)));
    }

    #[test]
    fn name_of_record_identifies_writer() {
        let upload = WriterId::Upload("20261121-041502-7f3a".parse().unwrap());
        assert_eq!(upload.to_string(), "uploads/20261121-041502-7f3a");
        let job = "20261121-041502-7f3a".parse().unwrap();
        let operation = WriterId::Operation { job, operation: "eastus-a-0123456789ab.seed".parse().unwrap() };
        for id in [upload, operation] {
            assert_eq!(WriterId::from_suffix(&id.to_string()), Some(id));
        }
        for other in ["", "uploads/", "uploads/A B", "20261121-041502-7f3a", "readme.txt"] {
            assert_eq!(WriterId::from_suffix(other), None, "{other}");
        }
    }
}
