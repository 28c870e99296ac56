//! The operations that write chunks to a store and have not proven all that they wrote.
//!
//! A seed proves each chunk that it writes, or deletes it. A seed that is killed in between leaves the chunk as it arrived, and
//! a request of its may take effect even later. A seed that still runs may find one of its chunks corrupt and delete it. A
//! list of the store shows neither.
//!
//! Therefore each seed has a record in the store, the blob `writers/JOB/OPERATION`, from before its first write until all its
//! chunks are proven. Whoever relies on listed chunks lists the records after the chunks: for each listed chunk that is not
//! proven, there is a record. Usually there is no record of another operation, so this costs one request, independent of the number of jobs.
//!
//! A record has no content, because nothing would prove it. The row of the operation has what is to be known about it.

use std::ops::RangeInclusive;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use goldfleet_model::checksum::crc64;
use goldfleet_model::ids::JobId;
use goldfleet_model::operation::{Operation, OperationId, OperationState};
use goldfleet_model::store::{BlobAddress, Container};
use goldfleet_ports::Ports;
use goldfleet_ports::blob_store::ListedBlob;
use goldfleet_ports::chunk_store::{self, MAX_CLOCK_DIFFERENCE, MAX_WRITE_DELAY, is_immutable};
use goldfleet_ports::clock::{after, before, elapsed};
use goldfleet_ports::error::{ErrorKind, PortError, PortResult};
use goldfleet_ports::retry::retry_transient;
use jiff::Timestamp;

/// The prefix of the names of records in a store.
pub const WRITERS: &str = "writers/";

/// From which age on a record without a row belongs to an operation that has ended. Its job was removed long after its end, or is
/// in the job table of another fleet. The record of an operation is as old as its last attempt.
const MAX_AGE_WITHOUT_ROW: Duration = Duration::from_secs(24 * 60 * 60);

/// How many rows are read at once.
const CONCURRENT_READS: usize = 16;

/// An operation that has a record in a store.
#[derive(Debug, Clone)]
pub struct Writer {
    pub(super) record: ListedBlob,
    job: JobId,
    id: OperationId,
    /// Its row. None if the table does not have it.
    pub(super) operation: Option<Operation>,
}

impl Writer {
    /// Whether it is this operation.
    pub(super) fn is(&self, operation: &Operation) -> bool {
        self.job == operation.job && self.id == operation.id
    }

    /// Whether all its chunks are proven. Its record is left only because it could not be removed.
    #[must_use]
    pub fn has_proven_all(&self) -> bool {
        self.operation.as_ref().is_some_and(|operation| operation.state == OperationState::Succeeded)
    }

    /// When it may have written chunks that are not proven, by the clock of the store.
    #[must_use]
    pub fn times(&self) -> RangeInclusive<Timestamp> {
        let (begun, ended) = match &self.operation {
            Some(operation) => {
                let ended = operation.state.is_terminal().then(|| after(operation.updated, MAX_WRITE_DELAY));
                (operation.started.unwrap_or(operation.created), ended)
            }
            None => (self.job.requested_at().unwrap_or(Timestamp::MIN), None),
        };
        let until = ended.map_or(Timestamp::MAX, |ended| after(ended, MAX_CLOCK_DIFFERENCE));
        before(begun, MAX_CLOCK_DIFFERENCE)..=until
    }

    /// Whether none of its writes can take effect any more, unless it is retried.
    pub(super) fn has_ended(&self, now: Timestamp) -> bool {
        match &self.operation {
            Some(operation) => operation.state.is_terminal() && *self.times().end() < now,
            None => elapsed(self.record.modified, now) > MAX_AGE_WITHOUT_ROW,
        }
    }

    /// Removes its record. An operation that is retried has renewed it: then it is kept.
    pub(super) async fn remove_record(&self, ports: &Ports, store: &Container) -> PortResult<()> {
        chunk_store::delete_listed(ports, store, &self.record).await.map(|_| ())
    }
}

/// Lists the operations that have a record in a store. To be called after the chunks were listed.
///
/// # Errors
/// If the store or the table cannot be reached.
pub async fn list_writers(ports: &Ports, store: &Container) -> PortResult<Vec<Writer>> {
    let records = chunk_store::list(ports.blobs.as_ref(), store, WRITERS).await?;
    let named = records.into_iter().filter_map(|record| {
        let (job, id) = record.name.strip_prefix(WRITERS)?.split_once('/')?;
        Some((job.parse().ok()?, id.parse().ok()?, record))
    });
    let reading = futures::stream::iter(named).map(|(job, id, record): (JobId, OperationId, ListedBlob)| async move {
        let operation = ports.table.operation(&job, &id).await?.map(|row| row.value);
        PortResult::Ok(Writer { record, job, id, operation })
    });
    reading.buffer_unordered(CONCURRENT_READS).try_collect().await
}

fn record_of(store: &Container, operation: &Operation) -> BlobAddress {
    store.blob(format!("{WRITERS}{}/{}", operation.job, operation.id))
}

/// Records in a store that this operation writes chunks to it. A record of an earlier attempt is renewed, so that nobody
/// removes it who has seen that attempt end.
pub(super) async fn add_record(ports: &Ports, store: &Container, operation: &Operation) -> PortResult<()> {
    let record = record_of(store, operation);
    retry_transient(ports.clock.as_ref(), PortError::is_retryable, async || {
        match ports.blobs.put_blob(&record, Bytes::new(), crc64(&[]).into()).await {
            Err(error) if error.kind == ErrorKind::AlreadyExists => renew(ports, &record).await,
            written => written,
        }
    })
    .await
}

async fn renew(ports: &Ports, record: &BlobAddress) -> PortResult<()> {
    let removed = || PortError::new(ErrorKind::Conflict, format!("{record} was removed meanwhile"));
    let found = ports.blobs.properties(record).await?.ok_or_else(removed)?;
    match ports.blobs.touch(record, &found.etag).await {
        Err(error) if error.kind == ErrorKind::NotFound => Err(removed()),
        // Nobody can remove it.
        Err(error) if is_immutable(&error) => Ok(()),
        touched => touched,
    }
}

/// Removes the record of an operation that has proven all its chunks. If that fails, the state of its row says so.
pub(super) async fn remove_record(ports: &Ports, store: &Container, operation: &Operation) {
    let record = record_of(store, operation);
    let deleted = retry_transient(ports.clock.as_ref(), PortError::is_retryable, || ports.blobs.delete(&record, None));
    if let Err(error) = deleted.await {
        tracing::warn!(%store, %error, "the record of a writer could not be removed");
    }
}
