//! What uploads, seeds and clean-up do alike with the chunks of a store.

use std::collections::HashMap;
use std::time::Duration;

use goldfleet_model::manifest::CHUNKS;
use goldfleet_model::store::Container;

use crate::Ports;
use crate::blob_store::{BlobListed, BlobStore};
use crate::clock::between;
use crate::error::{ErrorKind, PortError, PortResult};
use crate::retry::retrying;

/// All blobs whose names begin with `prefix`, in order.
///
/// # Errors
/// Where the service refuses or can't be reached.
pub async fn list(blobs: &dyn BlobStore, container: &Container, prefix: &str) -> PortResult<Vec<BlobListed>> {
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

/// The chunks that a store has, by name.
///
/// # Errors
/// Where the service refuses or can't be reached.
pub async fn present(blobs: &dyn BlobStore, store: &Container) -> PortResult<HashMap<String, BlobListed>> {
    Ok(list(blobs, store, CHUNKS).await?.into_iter().map(|blob| (blob.name.clone(), blob)).collect())
}

/// Sees to it that a listed chunk stays: one older than `age` is renewed, so that no clean-up that is looking at it right
/// now takes it for abandoned. False where it is gone.
///
/// # Errors
/// Where the service refuses or can't be reached.
pub async fn rely_on(ports: &Ports, store: &Container, chunk: &BlobListed, age: Duration) -> PortResult<bool> {
    if between(chunk.modified, ports.clock.now()) <= age {
        return Ok(true);
    }
    let blob = store.blob(chunk.name.as_str());
    match retrying(ports.clock.as_ref(), may_pass, || ports.blobs.touch(&blob, &chunk.etag)).await {
        Ok(()) => Ok(true),
        // Renewed by someone else at the same time is as good as by this one; but what is gone may be answered so too.
        Err(error) if error.kind == ErrorKind::Conflict => Ok(ports.blobs.properties(&blob).await?.is_some()),
        Err(error) if error.kind == ErrorKind::NotFound => Ok(false),
        // A policy that lets nobody change it lets nobody collect it.
        Err(error) if IMMUTABLE.contains(&error.code.as_str()) => Ok(true),
        Err(error) => Err(error),
    }
}

/// The codes of a blob that may be neither changed nor deleted. Source: Azure Blob Storage, error codes.
const IMMUTABLE: [&str; 2] = ["blob-immutable-due-to-policy", "blob-immutable-due-to-legal-hold"];

/// Removes a listed chunk that is not what its name says, so that a whole one can take its place. One that was written anew
/// since it was listed stays. Returns whether one was removed.
///
/// # Errors
/// Where the service refuses or can't be reached.
pub async fn discard(ports: &Ports, store: &Container, chunk: &BlobListed) -> PortResult<bool> {
    let blob = store.blob(chunk.name.as_str());
    match retrying(ports.clock.as_ref(), may_pass, || ports.blobs.delete(&blob, Some(&chunk.etag))).await {
        Ok(existed) => Ok(existed),
        Err(error) if matches!(error.kind, ErrorKind::Conflict | ErrorKind::NotFound) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Another version of the blob is an answer: asking again for the one that was listed is of no use.
fn may_pass(error: &PortError) -> bool {
    error.is_retryable() && error.kind != ErrorKind::Conflict
}
