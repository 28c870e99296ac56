//! Chunks in the store that may hold other bytes than their names stand for.
//!
//! An upload proves each chunk that it writes, or deletes it. An upload that is killed in between leaves the chunk as it
//! arrived, and a request of its may take effect even later. An upload that still runs may find one of its chunks corrupt and
//! delete it. A list shows neither. So an upload does not rely on a listed chunk that another upload may have written and not
//! proven: it reads the chunk back first.
//!
//! Who wrote a chunk is not recorded, so times decide. The row of an upload says [until when](Upload::proven_until) its chunks
//! are proven; its last request takes effect at most [`MAX_WRITE_DELAY`] after the row was written. Chunks between the two are
//! read back, and those within [`MAX_CLOCK_DIFFERENCE`] on both sides. A resumed upload thus does not read back all that the
//! killed one has sent, but only what that sent in its last minutes.

use std::ops::RangeInclusive;

use goldfleet_kinds::seed::writers::Writer;
use goldfleet_model::ids::JobId;
use goldfleet_model::upload::{Upload, UploadState};
use goldfleet_ports::chunk_store::{MAX_CLOCK_DIFFERENCE, MAX_WRITE_DELAY};
use goldfleet_ports::clock::{after, before};
use jiff::Timestamp;

/// When other uploads and operations may have written chunks that are not proven.
pub(super) struct UnprovenWrites(Vec<RangeInclusive<Timestamp>>);

impl UnprovenWrites {
    /// The times of all of these uploads but `own`.
    pub(super) fn of(uploads: &[Upload], own: &JobId) -> Self {
        Self(uploads.iter().filter(|upload| upload.id != *own).filter_map(unproven_times).collect())
    }

    /// Adds the times of other operations that write to the store.
    pub(super) fn add_writers(&mut self, writers: &[Writer]) {
        self.0.extend(writers.iter().filter(|writer| !writer.has_proven_all()).map(Writer::times));
    }

    /// Whether a chunk that was last written at this time may be unproven.
    pub(super) fn may_include(&self, modified: Timestamp) -> bool {
        self.0.iter().any(|times| times.contains(&modified))
    }
}

/// When an upload may have written chunks that are not proven, by the clock of the store. None where all are proven.
fn unproven_times(upload: &Upload) -> Option<RangeInclusive<Timestamp>> {
    // Rows of earlier releases do not say what is proven.
    let proven_until = upload.proven_until.unwrap_or(upload.started);
    let is_proven = match upload.state {
        // Its manifest was written after its last chunk was proven.
        UploadState::Complete => true,
        UploadState::Failed => proven_until == upload.updated,
        UploadState::Running => false,
    };
    let until = after(after(upload.updated, MAX_WRITE_DELAY), MAX_CLOCK_DIFFERENCE);
    (!is_proven).then(|| before(proven_until, MAX_CLOCK_DIFFERENCE)..=until)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(minutes: u64) -> Timestamp {
        after(Timestamp::UNIX_EPOCH, Duration::from_secs(60 * minutes))
    }

    /// An upload that began at minute 100, proved its chunks until minute 200, and wrote its row last at minute 201.
    fn upload(state: UploadState) -> Upload {
        let begun = Upload::new(JobId::new(at(100), 1), "golden".parse().unwrap(), "1".parse().unwrap(), at(100));
        Upload { state, proven_until: Some(at(200)), updated: at(201), ..begun }
    }

    /// The minutes in which chunks may be unproven, as others see these rows.
    fn unproven(uploads: &[Upload]) -> Vec<u64> {
        let writes = UnprovenWrites::of(uploads, &JobId::new(at(0), 2));
        (0..400).filter(|minute| writes.may_include(at(*minute))).collect()
    }

    #[test]
    fn chunks_since_last_proof_of_unfinished_upload_are_unproven() {
        for state in [UploadState::Running, UploadState::Failed] {
            assert_eq!(unproven(&[upload(state)]), (195..=266).collect::<Vec<_>>(), "{state:?}");
        }
    }

    #[test]
    fn chunks_of_ended_uploads_are_proven() {
        let none = Vec::<u64>::new();
        assert_eq!(unproven(&[upload(UploadState::Complete)]), none);
        let nothing_in_flight = Upload { proven_until: Some(at(201)), ..upload(UploadState::Failed) };
        assert_eq!(unproven(&[nothing_in_flight]), none);
    }

    #[test]
    fn all_chunks_of_unfinished_upload_of_earlier_release_are_unproven() {
        let row = Upload { proven_until: None, ..upload(UploadState::Failed) };
        assert_eq!(unproven(&[row]), (95..=266).collect::<Vec<_>>());
    }

    #[test]
    fn own_row_is_not_considered() {
        let row = upload(UploadState::Running);
        let writes = UnprovenWrites::of(std::slice::from_ref(&row), &row.id);
        assert!(!writes.may_include(at(200)));
    }
}
