//! The seeds and uploads that write chunks to a store and have not proven all that they wrote.
//!
//! A writer proves each chunk that it writes, or deletes it. If a writer is killed in between, the chunk stays as it
//! arrived, and a request of the writer may take effect even later. A writer that still runs may find one of its chunks
//! corrupt and delete it. A list of the store shows neither.
//!
//! Therefore each writer has a record in the store, the blob `writers/JOB/OPERATION` of a seed or
//! `writers/uploads/UPLOAD`, from before its first write until all its chunks are proven. A process that relies on
//! listed chunks lists the records after the chunks: for each listed chunk that is not proven, there is a record.
//! Usually there is no record of another writer, so this costs one request, independent of the number of jobs and
//! uploads.
//!
//! A record has no content, because no checksum would prove it. The row of the writer states which chunks may be
//! unproven.

mod writer;

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use goldfleet_model::checksum::crc64;
use goldfleet_model::store::{BlobAddress, Container};
use goldfleet_ports::Ports;
use goldfleet_ports::blob_store::ListedBlob;
use goldfleet_ports::chunk_store::{self, delete_listed, is_immutable};
use goldfleet_ports::error::{ErrorKind, PortError, PortResult};
use goldfleet_ports::retry::retry_transient;

pub use writer::{Writer, WriterId, WriterRow};

/// The prefix of the names of records in a store.
pub const WRITERS: &str = "writers/";

/// How many rows are read at once.
const CONCURRENT_READS: usize = 16;

/// Lists the writers that have a record in a store. To be called after the chunks were listed.
///
/// # Errors
/// If the store or the table cannot be reached.
pub async fn list_writers(ports: &Ports, store: &Container) -> PortResult<Vec<Writer>> {
    let records = chunk_store::list(ports.blobs.as_ref(), store, WRITERS).await?;
    let named = records.into_iter().filter_map(|record| {
        let id = WriterId::from_suffix(record.name.strip_prefix(WRITERS)?)?;
        Some((id, record))
    });
    let reading = futures::stream::iter(named).map(|(id, record): (WriterId, ListedBlob)| async move {
        let row = read_row(ports, &id).await?;
        PortResult::Ok(Writer { id, record, row })
    });
    reading.buffer_unordered(CONCURRENT_READS).try_collect().await
}

async fn read_row(ports: &Ports, id: &WriterId) -> PortResult<Option<WriterRow>> {
    Ok(match id {
        WriterId::Operation { job, operation } => {
            let row = ports.table.operation(job, operation).await?;
            row.map(|row| WriterRow::Operation(Box::new(row.value)))
        }
        WriterId::Upload(id) => ports.table.upload(id).await?.map(|row| WriterRow::Upload(Box::new(row))),
    })
}

fn record_of(store: &Container, id: &WriterId) -> BlobAddress {
    store.blob(format!("{WRITERS}{id}"))
}

/// Records in a store that this writer writes chunks to it. An existing record is renewed, so that a process that has
/// seen the writer end does not remove it.
///
/// # Errors
/// If the store refuses or cannot be reached.
pub async fn add_record(ports: &Ports, store: &Container, id: &WriterId) -> PortResult<()> {
    let record = record_of(store, id);
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

/// Removes the record of a writer that has proven all its chunks. If that fails, the state of its row says so.
pub async fn remove_record(ports: &Ports, store: &Container, id: &WriterId) {
    let record = record_of(store, id);
    let deleted = retry_transient(ports.clock.as_ref(), PortError::is_retryable, || ports.blobs.delete(&record, None));
    if let Err(error) = deleted.await {
        tracing::warn!(%store, %error, "the record of a writer could not be removed");
    }
}

/// Removes the record of another writer that has ended, after its chunks were read back. A writer that runs again has
/// renewed its record: then the record is kept.
///
/// # Errors
/// If the store refuses or cannot be reached.
pub async fn remove_record_of(ports: &Ports, store: &Container, writer: &Writer) -> PortResult<()> {
    delete_listed(ports, store, &writer.record).await.map(|_| ())
}
