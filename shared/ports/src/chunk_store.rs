//! Operations on the chunks of a store that uploads, steps and garbage collection share.

use std::collections::HashMap;
use std::time::Duration;

use crate::Ports;
use crate::blob_store::{BlobStore, ListedBlob, SourceRange};
use crate::clock::elapsed;
use crate::error::{ErrorKind, PortError, PortResult};
use crate::retry::retry_transient;
use goldfleet_model::manifest::{CHUNKS, ChunkEntry};
use goldfleet_model::store::Container;

/// Lists all blobs whose names begin with `prefix`, in order.
///
/// # Errors
/// If the service refuses or cannot be reached.
pub async fn list(blobs: &dyn BlobStore, container: &Container, prefix: &str) -> PortResult<Vec<ListedBlob>> {
    let mut listed = Vec::new();
    let mut marker = None;
    loop {
        let page = blobs.list(container, prefix, marker.as_deref()).await?;
        listed.extend(page.blobs);
        marker = page.next;
        if marker.is_none() {
            return Ok(listed);
        }
    }
}

/// Lists the chunks of a store, by name.
///
/// # Errors
/// If the service refuses or cannot be reached.
pub async fn list_chunks(blobs: &dyn BlobStore, store: &Container) -> PortResult<HashMap<String, ListedBlob>> {
    Ok(list(blobs, store, CHUNKS).await?.into_iter().map(|blob| (blob.name.clone(), blob)).collect())
}

/// Protects a listed chunk from garbage collection: a chunk that is older than `age` is touched, so a collection that
/// runs at the same time does not delete it as unused. Returns false if the chunk no longer exists.
///
/// # Errors
/// If the service refuses or cannot be reached.
pub async fn renew_if_old(ports: &Ports, store: &Container, chunk: &ListedBlob, age: Duration) -> PortResult<bool> {
    if elapsed(chunk.modified, ports.clock.now()) <= age {
        return Ok(true);
    }
    let blob = store.blob(chunk.name.as_str());
    match retry_transient(ports.clock.as_ref(), is_transient, || ports.blobs.touch(&blob, &chunk.etag)).await {
        Ok(()) => Ok(true),
        // A touch by another process is sufficient. But a service may also answer `Conflict` for a deleted blob.
        Err(error) if error.kind == ErrorKind::Conflict => Ok(ports.blobs.properties(&blob).await?.is_some()),
        Err(error) if error.kind == ErrorKind::NotFound => Ok(false),
        // Garbage collection cannot delete a blob that an immutability policy protects.
        Err(error) if IMMUTABLE_CODES.contains(&error.code.as_str()) => Ok(true),
        Err(error) => Err(error),
    }
}

/// The error codes of blobs that can be neither changed nor deleted. Source: Azure Blob Storage, error codes.
const IMMUTABLE_CODES: [&str; 2] = ["blob-immutable-due-to-policy", "blob-immutable-due-to-legal-hold"];

/// Deletes a listed chunk whose bytes do not match its name, so that an intact one can be written. A chunk that was
/// written again since the listing is kept. Returns whether a chunk was deleted.
///
/// # Errors
/// If the service refuses or cannot be reached.
pub async fn delete_corrupt(ports: &Ports, store: &Container, chunk: &ListedBlob) -> PortResult<bool> {
    let blob = store.blob(chunk.name.as_str());
    match retry_transient(ports.clock.as_ref(), is_transient, || ports.blobs.delete(&blob, Some(&chunk.etag))).await {
        Ok(existed) => Ok(existed),
        Err(error) if matches!(error.kind, ErrorKind::Conflict | ErrorKind::NotFound) => Ok(false),
        Err(error) => Err(error),
    }
}

/// The range and the checksums of a whole chunk in a store.
#[must_use]
pub fn whole(store: &Container, entry: &ChunkEntry) -> SourceRange {
    SourceRange {
        blob: store.chunk(&entry.hash),
        range: 0..u64::from(entry.length),
        crc64: entry.crc64(),
        md5: entry.md5(),
    }
}

/// Reads back a chunk that another process wrote, or that this process wrote without receiving the response. A chunk
/// whose bytes do not match its name is deleted, so that an intact one can be written. Returns whether an intact chunk
/// exists.
///
/// Every writer verifies its chunk or deletes it. But a writer that is killed in between leaves an unverified chunk.
///
/// # Errors
/// If the service refuses or cannot be reached.
pub async fn is_whole(ports: &Ports, store: &Container, entry: &ChunkEntry) -> PortResult<bool> {
    let range = whole(store, entry);
    let Some(found) = ports.blobs.properties(&range.blob).await? else { return Ok(false) };
    let length = u64::from(entry.length);
    let holds = if found.length == length { ports.blobs.holds(&range).await } else { Ok(false) };
    match holds {
        Ok(true) => Ok(true),
        Ok(false) => {
            tracing::warn!(%store, chunk = %entry.hash, "a chunk in the store was damaged when it arrived: it is removed");
            let name = range.blob.name.clone();
            let listed = ListedBlob { name, length: found.length, etag: found.etag, modified: found.modified };
            delete_corrupt(ports, store, &listed).await?;
            Ok(false)
        }
        // Another process has deleted it since.
        Err(error) if error.kind == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// The error to return if [`is_whole`] returns false: writing the chunk again may succeed.
#[must_use]
pub fn was_damaged(store: &Container, entry: &ChunkEntry) -> PortError {
    let message = format!("{store}: the chunk {} was damaged when it arrived, and was removed", entry.hash);
    PortError::new(ErrorKind::Corrupt, message)
}

/// `Conflict` is a final answer: the listed version does not come back, so a retry is useless.
fn is_transient(error: &PortError) -> bool {
    error.is_retryable() && error.kind != ErrorKind::Conflict
}
