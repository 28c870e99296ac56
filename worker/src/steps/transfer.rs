//! Moving chunks: from whichever source has them, many at once, each recorded when it is in place.

use std::future::Future;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use goldfleet_shared::model::ids::AccountName;
use goldfleet_shared::model::manifest::{ChunkEntry, Manifest, chunk_name};
use goldfleet_shared::model::operation::Operation;
use goldfleet_shared::model::store::{BlobAddress, Store};
use goldfleet_shared::ports::error::{ErrorKind, PortError, PortResult};

use super::{Outcome, Shared, StepError};
use crate::hold::Hold;

/// How often one request is tried in an attempt, before the attempt fails.
const TRIES: u32 = 4;

/// How long a step stays with its lease while its sources have nothing new for it, in heartbeats. Then it gives its place
/// to others.
const PATIENCE_BEATS: u32 = 2;

/// The time between two looks at sources that have nothing new.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// A chunk to move, and how it went.
pub(super) trait Destination: Sync {
    /// The account that takes the load.
    fn account(&self) -> &AccountName;

    /// Requests in flight, as long as all their permits are to be had.
    fn requests(&self) -> usize;

    /// Puts a chunk in place from the blob that holds it. Returns the bytes that went over the wire.
    fn put(&self, entry: &ChunkEntry, source: &BlobAddress) -> impl Future<Output = PortResult<u64>> + Send;
}

/// Moves every chunk that the hold has not recorded as in place.
pub(super) async fn fill<D: Destination>(
    shared: &Shared,
    hold: &Hold,
    operation: &Operation,
    manifest: &Manifest,
    from: &[Store],
    destination: &D,
) -> Result<Outcome, StepError> {
    let mut idle = Duration::ZERO;
    loop {
        hold.check()?;
        let missing = missing(operation, hold);
        if missing.is_empty() {
            return Ok(Outcome::Done);
        }
        let sources = shared.availability.look(&shared.ports, &operation.job, from).await?;
        let batch: Vec<u32> = missing.into_iter().filter(|&chunk| sources.nearest(chunk, &[]).is_some()).collect();
        if batch.is_empty() {
            let patience = shared.settings.beat * PATIENCE_BEATS;
            if idle >= patience {
                return Ok(Outcome::Continue(shared.settings.beat));
            }
            shared.ports.clock.sleep(LOOK_AGAIN).await;
            idle += LOOK_AGAIN;
            continue;
        }
        idle = Duration::ZERO;
        let mut waiting = batch.into_iter();
        let mut moving = FuturesUnordered::new();
        let mut failed = None;
        loop {
            // After a failure nothing new begins, but what is in flight is awaited, so that what it did is recorded.
            while failed.is_none() && moving.len() < destination.requests() {
                let Some(chunk) = waiting.next() else { break };
                moving.push(move_chunk(shared, hold, manifest, chunk, &sources, destination));
            }
            match moving.next().await {
                Some(Ok(())) => {}
                Some(Err(error)) => {
                    failed.get_or_insert(error);
                }
                None => break,
            }
        }
        if let Some(error) = failed {
            return Err(error);
        }
    }
}

/// The chunks to move, beginning at a place of the list that differs between operations, so that no chunk is hot.
fn missing(operation: &Operation, hold: &Hold) -> Vec<u32> {
    let done = hold.progress().done;
    let mut missing: Vec<u32> = done.missing().collect();
    if !missing.is_empty() {
        let hash = operation
            .id
            .to_string()
            .bytes()
            .fold(0_usize, |hash, byte| hash.wrapping_mul(31).wrapping_add(byte.into()));
        let start = hash % missing.len();
        missing.rotate_left(start);
    }
    missing
}

async fn move_chunk<D: Destination>(
    shared: &Shared,
    hold: &Hold,
    manifest: &Manifest,
    chunk: u32,
    sources: &crate::availability::Sources<'_>,
    destination: &D,
) -> Result<(), StepError> {
    let Some(entry) = manifest.chunks.get(chunk as usize) else { return Ok(()) };
    let mut lacking: Vec<&Store> = Vec::new();
    let mut last: Option<PortError> = None;
    let mut tries = 0;
    loop {
        hold.check()?;
        let Some(store) = sources.nearest(chunk, &lacking) else {
            return match last {
                Some(error) => Err(error.into()),
                None => Ok(()),
            };
        };
        let permit = shared.governor.admit(destination.account()).await;
        hold.check()?;
        let source = store.container().blob(chunk_name(&entry.hash));
        let put = destination.put(entry, &source).await;
        permit.ended(&put);
        match put {
            Ok(bytes) => {
                hold.moved(bytes);
                shared.vitals.metrics.moved(hold.kind(), bytes);
                hold.record(chunk, u64::from(entry.length));
                return Ok(());
            }
            // Another place may have it whole. It is said here, once, which store was at fault.
            Err(error) if is_the_sources_fault(&error) => {
                tracing::warn!(%store, chunk = %entry.hash, code = error.code, "a chunk can't be had here: {error}");
                lacking.push(store);
                last = Some(error);
            }
            Err(error) if error.is_retryable() && error.kind != ErrorKind::Fenced => {
                tries += 1;
                if tries == TRIES {
                    return Err(error.into());
                }
                if error.kind == ErrorKind::Throttled {
                    shared.vitals.metrics.throttled(hold.kind());
                }
                let wait = error.retry_after.unwrap_or(Duration::from_millis(50 << (2 * tries)));
                shared.ports.clock.sleep(wait).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

fn is_the_sources_fault(error: &PortError) -> bool {
    matches!(error.code.as_str(), "source-not-found" | "source-corrupt")
}
