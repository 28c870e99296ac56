//! The chunks in a store that its writers have not proven.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use futures::{StreamExt as _, TryStreamExt as _};
use goldfleet_model::manifest::{ChunkEntry, Manifest, chunk_name};
use goldfleet_model::operation::Operation;
use goldfleet_model::store::Container;
use goldfleet_ports::Ports;
use goldfleet_ports::blob_store::ListedBlob;
use goldfleet_ports::chunk_store::{is_whole, matches_name};
use goldfleet_ports::error::{ErrorKind, PortError, PortResult};
use jiff::Timestamp;

use super::SeedSpec;
use crate::context::{Attempt, read_spec, source_of};
use crate::outcome::StepError;
use crate::writers::{Writer, WriterId, WriterRow, list_writers, remove_record_of};

/// The chunks of a store by name.
pub(super) type Listed = HashMap<String, ListedBlob>;

/// A listed chunk that a writer may have written and not proven.
struct Suspect {
    listed: ListedBlob,
    /// The chunk, if the writer's manifest is known.
    entry: Option<ChunkEntry>,
}

/// The names of the listed chunks that must be read back before this attempt relies on them, because another seed, an
/// upload, or an earlier attempt of this one, may have written them and not proven them.
///
/// The chunks of writers that have ended are read back here, whether this operation needs them or not, and the records
/// of these writers are removed, so that records do not accumulate. They have ended if no write of theirs took effect
/// after `listed_at`, the time before the list. Chunks that are found corrupt are removed from the store and from
/// `listed`.
pub(super) async fn unproven_chunks(
    attempt: Attempt<'_>,
    store: &Container,
    listed: &mut Listed,
    listed_at: Timestamp,
) -> Result<HashSet<String>, StepError> {
    let Attempt { shared, operation, .. } = attempt;
    let own = WriterId::of(operation);
    let (mut unproven, mut proven) = (HashSet::new(), HashSet::new());
    for writer in list_writers(&shared.ports, store).await? {
        attempt.lease.ensure_held()?;
        let is_own = writer.id == own;
        if is_own && operation.attempts <= 1 {
            continue;
        }
        let suspects = suspects(attempt, &writer, listed).await;
        let names: Vec<String> = suspects.iter().map(|suspect| suspect.listed.name.clone()).collect();
        if is_own || !(writer.has_proven_all() || writer.has_ended(listed_at)) {
            unproven.extend(names);
            continue;
        }
        match settle(attempt, store, &writer, suspects).await {
            Ok(corrupt) => {
                listed.retain(|name, _| !corrupt.contains(name));
                proven.extend(names);
            }
            // The record remains, and the next seed tries again.
            Err(error) => {
                tracing::warn!(%store, record = writer.record.name, %error, "the chunks of a writer that has ended could not be read back");
                unproven.extend(names);
            }
        }
    }
    unproven.retain(|name| !proven.contains(name));
    Ok(unproven)
}

/// The listed chunks that a writer may not have proven: those that were written in its time and that its row does not
/// record as in place. If its manifest is not known, as for an upload, these are all chunks that were written in its
/// time.
async fn suspects(attempt: Attempt<'_>, writer: &Writer, listed: &Listed) -> Vec<Suspect> {
    if writer.has_proven_all() {
        return Vec::new();
    }
    let is_in_time = |listed: &&ListedBlob| writer.may_have_left(listed.modified);
    let manifest = match &writer.row {
        Some(WriterRow::Operation(operation)) => {
            manifest_of(attempt, operation).await.map(|manifest| (operation, manifest))
        }
        Some(WriterRow::Upload(_)) | None => None,
    };
    let Some((operation, manifest)) = manifest else {
        let all = listed.values().filter(is_in_time);
        return all.map(|listed| Suspect { listed: listed.clone(), entry: None }).collect();
    };
    let done = &operation.progress.done;
    let is_recorded = |index: u32| done.len() == manifest.chunk_count() && done.contains(index);
    let mut seen = HashSet::new();
    let unrecorded = (0..).zip(&manifest.chunks).filter(|(index, _)| !is_recorded(*index));
    unrecorded
        .filter(|(_, entry)| seen.insert(entry.hash))
        .filter_map(|(_, entry)| {
            let listed = listed.get(&chunk_name(&entry.hash)).filter(is_in_time)?;
            Some(Suspect { listed: listed.clone(), entry: Some(entry.clone()) })
        })
        .collect()
}

/// The manifest of the version that a writer copies. None if it cannot be read: the version may have been deleted
/// since.
async fn manifest_of(attempt: Attempt<'_>, writer: &Operation) -> Option<Arc<Manifest>> {
    let SeedSpec { disk, from, .. } = read_spec(writer).ok()?;
    let source = source_of(&from).ok()?;
    attempt.shared.manifests.get(attempt.blobs(), source, writer.image.as_ref()?, &disk).await.ok()
}

/// Reads back the chunks of a writer that has ended, and removes its record. Returns the names of the chunks that were
/// corrupt or do not exist.
async fn settle(
    attempt: Attempt<'_>,
    store: &Container,
    writer: &Writer,
    suspects: Vec<Suspect>,
) -> PortResult<HashSet<String>> {
    let ports = &attempt.shared.ports;
    let reading = futures::stream::iter(suspects).map(|suspect| async move {
        let name = suspect.listed.name.clone();
        PortResult::Ok((name, is_proven(ports, store, &suspect).await?))
    });
    let reading = reading.buffer_unordered(attempt.shared.settings.seed_requests.max(1));
    let corrupt = reading.try_filter_map(|(name, proven)| async move { Ok((!proven).then_some(name)) });
    let corrupt = corrupt.try_collect().await?;
    remove_record_of(ports, store, writer).await?;
    Ok(corrupt)
}

/// Reads a chunk back. False if it does not exist, or was deleted because it was corrupt.
async fn is_proven(ports: &Ports, store: &Container, Suspect { listed, entry }: &Suspect) -> PortResult<bool> {
    let whole = match entry {
        Some(entry) => is_whole(ports, store, entry).await?,
        None => matches_name(ports, store, listed).await?,
    };
    let blob = store.blob(listed.name.as_str());
    if !whole && ports.blobs.properties(&blob).await?.is_some() {
        let message = format!("{blob} is corrupt, and another process changed it while it was removed");
        return Err(PortError::new(ErrorKind::Conflict, message));
    }
    Ok(whole)
}
