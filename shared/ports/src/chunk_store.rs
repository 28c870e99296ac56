//! Operations on the chunks of a store that uploads, steps and garbage collection share.

use std::collections::HashMap;
use std::time::Duration;

use crate::Ports;
use crate::blob_store::{BlobStore, ListedBlob, SourceRange};
use crate::clock::elapsed;
use crate::error::{ErrorKind, PortError, PortResult};
use crate::pages::Pages;
use crate::retry::retry_transient;
use goldfleet_model::manifest::{CHUNKS, ChunkEntry, ChunkHash};
use goldfleet_model::store::Container;

/// Lists all blobs whose names begin with `prefix`, in order.
///
/// # Errors
/// If the service refuses or cannot be reached.
pub async fn list(blobs: &dyn BlobStore, container: &Container, prefix: &str) -> PortResult<Vec<ListedBlob>> {
    let mut listed = Vec::new();
    let (mut marker, mut pages) = (None, Pages::default());
    loop {
        let page = blobs.list(container, prefix, marker.as_deref()).await?;
        listed.extend(page.blobs);
        let Some(next) = page.next else { return Ok(listed) };
        pages.check(&next, &container.to_string())?;
        marker = Some(next);
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
        // A touch by another process is sufficient. A service may also return `Conflict` for a deleted blob.
        Err(error) if error.kind == ErrorKind::Conflict => Ok(ports.blobs.properties(&blob).await?.is_some()),
        Err(error) if error.kind == ErrorKind::NotFound => Ok(false),
        // Garbage collection cannot delete a blob that an immutability policy protects.
        Err(error) if is_immutable(&error) => Ok(true),
        Err(error) => Err(error),
    }
}

/// Whether an immutability policy protects the blob from changes and deletion.
#[must_use]
pub fn is_immutable(error: &PortError) -> bool {
    IMMUTABLE_CODES.contains(&error.code.as_str())
}

/// The error codes of blobs that can be neither changed nor deleted. Source: Azure Blob Storage, error codes.
const IMMUTABLE_CODES: [&str; 2] = ["blob-immutable-due-to-policy", "blob-immutable-due-to-legal-hold"];

/// Deletes a listed blob: for example a chunk whose bytes do not match its name, so that an intact one can be written.
/// A blob that was written again or touched since the listing is kept. Returns whether a blob was deleted.
///
/// # Errors
/// If the service refuses or cannot be reached.
pub async fn delete_listed(ports: &Ports, store: &Container, listed: &ListedBlob) -> PortResult<bool> {
    let blob = store.blob(listed.name.as_str());
    match retry_transient(ports.clock.as_ref(), is_transient, || ports.blobs.delete(&blob, Some(&listed.etag))).await {
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

/// The most by which the clock of a store and the clock of a writer are expected to differ.
pub const MAX_CLOCK_DIFFERENCE: Duration = Duration::from_secs(5 * 60);

/// How long after it was sent a write may still take effect, at most. The slowest request for which the Azure adapter
/// waits, 4 MiB at 4 KiB/s, takes 17 minutes.
pub const MAX_WRITE_DELAY: Duration = Duration::from_secs(60 * 60);

/// Reads back a chunk that someone else wrote, or that this process wrote without a response. A chunk whose bytes do
/// not have the hash in its name is deleted, so that it can be written again. Returns whether the chunk is in the store
/// and has the right bytes.
///
/// The writer of a chunk proves it or deletes it. If a writer is killed before it does either, the chunk stays as it
/// arrived.
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
            delete_listed(ports, store, &listed).await?;
            Ok(false)
        }
        // Another process has deleted it since.
        Err(error) if error.kind == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// As [`is_whole`], for a listed chunk whose checksums are not known: the hash of its bytes is compared with its name.
/// A blob whose name is not that of a chunk is not read and not deleted.
///
/// # Errors
/// If the service refuses or cannot be reached.
pub async fn matches_name(ports: &Ports, store: &Container, chunk: &ListedBlob) -> PortResult<bool> {
    let hash = chunk.name.strip_prefix(CHUNKS).and_then(|name| name.parse::<ChunkHash>().ok());
    let Some(hash) = hash else { return Ok(true) };
    let blob = store.blob(chunk.name.as_str());
    let Some(found) = ports.blobs.properties(&blob).await? else { return Ok(false) };
    match ports.blobs.get(&blob, None).await {
        Ok(bytes) if ChunkHash::of(&bytes) == hash => Ok(true),
        Ok(_) => {
            tracing::warn!(%store, chunk = %hash, "a chunk in the store does not match its name: it is removed");
            let listed = ListedBlob { etag: found.etag, ..chunk.clone() };
            delete_listed(ports, store, &listed).await?;
            Ok(false)
        }
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

/// `Conflict` is final: the listed version never exists again, so a retry cannot succeed.
fn is_transient(error: &PortError) -> bool {
    error.is_retryable() && error.kind != ErrorKind::Conflict
}
