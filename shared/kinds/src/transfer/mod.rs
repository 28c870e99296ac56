//! Transfers chunks: many at once, each from a source that has it. Each chunk is recorded when it is in place.

pub mod availability;
mod chunk_retry;
pub mod failover;
pub mod manifest_cache;
mod request;
pub(crate) mod unanswered;

use std::collections::BTreeSet;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use goldfleet_model::artifact::DiskRole;
use goldfleet_model::manifest::{ChunkEntry, Manifest};
use goldfleet_model::store::Store;
use goldfleet_ports::error::{ErrorKind, PortError};
use serde::Deserialize;

use crate::context::{Attempt, read_spec};
use crate::outcome::{StepError, StepOutcome};
use chunk_retry::{ChunkRetry, RetryDecision};
pub(crate) use request::Destination;
use request::{Batch, ChunkResponse};

/// Begins the log line of a chunk that is read from another store instead.
pub const CHUNK_UNREADABLE: &str = "a chunk cannot be read from this store";

/// How many heartbeats a step keeps its lease while its sources have no new chunks. After that it releases its permit
/// to other operations.
const MAX_IDLE_HEARTBEATS: u32 = 2;

/// The time between two listings of sources that have no new chunks.
const RELIST_INTERVAL: Duration = Duration::from_millis(200);

/// The disk whose chunks an operation moves: a part of the specification of every kind that moves chunks.
#[derive(Deserialize)]
struct TransferredDisk {
    #[serde(default)]
    disk: DiskRole,
}

/// Moves every chunk that the lease has not recorded as in place.
///
/// A chunk is recorded once it is proven and no request for it can still be written. If a second request put the chunk
/// in place while the first one is unanswered, the chunk is recorded only after [`Destination::settle`].
pub(crate) async fn transfer_chunks<D: Destination>(
    attempt: Attempt<'_>,
    manifest: &Manifest,
    from: &[Store],
    destination: &D,
) -> Result<StepOutcome, StepError> {
    let Attempt { shared, lease, operation } = attempt;
    let max_idle = shared.settings.heartbeat * MAX_IDLE_HEARTBEATS;
    let TransferredDisk { disk } = read_spec(operation)?;
    let mut idle = Duration::ZERO;
    let mut unsettled = BTreeSet::new();
    loop {
        lease.ensure_held()?;
        let missing: Vec<u32> = missing(attempt).into_iter().filter(|chunk| !unsettled.contains(chunk)).collect();
        if missing.is_empty() && unsettled.is_empty() {
            return Ok(StepOutcome::Done);
        }
        let sources = shared.availability.list_sources(&shared.ports, (&operation.job, disk), from).await?;
        let at_hand: Vec<u32> = missing.into_iter().filter(|&chunk| sources.nearest(chunk, &[]).is_some()).collect();
        if !at_hand.is_empty() {
            unsettled
                .extend(Batch { attempt, sources: &sources, destination }.transfer_batch(manifest, at_hand).await?);
            idle = Duration::ZERO;
        } else if !unsettled.is_empty() {
            settle(attempt, manifest, destination, std::mem::take(&mut unsettled)).await?;
        } else if idle < max_idle {
            attempt.pause(RELIST_INTERVAL).await?;
            idle += RELIST_INTERVAL;
        } else {
            return Ok(StepOutcome::RequeueAfter(shared.settings.heartbeat));
        }
    }
}

/// Settles chunks and records those that are in place. The others are moved again.
async fn settle<D: Destination>(
    Attempt { lease, .. }: Attempt<'_>,
    manifest: &Manifest,
    destination: &D,
    unsettled: BTreeSet<u32>,
) -> Result<(), StepError> {
    let chunks: Vec<(u32, &ChunkEntry)> =
        unsettled.into_iter().filter_map(|chunk| Some((chunk, manifest.chunks.get(chunk as usize)?))).collect();
    let in_place = destination.settle(&chunks).await?;
    for (chunk, entry) in chunks.into_iter().filter(|(chunk, _)| in_place.contains(chunk)) {
        lease.record_chunk(chunk, u64::from(entry.length));
    }
    Ok(())
}

/// The chunks to move. The start of the list depends on the operation, so that operations do not all read the same
/// chunk at once.
fn missing(Attempt { lease, operation, .. }: Attempt<'_>) -> Vec<u32> {
    let done = lease.progress().done;
    let mut missing: Vec<u32> = done.missing().collect();
    if !missing.is_empty() {
        // FNV-1a over the id gives different starts even for ids that differ in a few characters.
        let hash = operation
            .id
            .to_string()
            .bytes()
            .fold(0x811c_9dc5_usize, |hash, byte| (hash ^ usize::from(byte)).wrapping_mul(0x0100_0193));
        let start = hash % missing.len();
        missing.rotate_left(start);
    }
    missing
}

impl<D: Destination> Batch<'_, D> {
    /// Puts chunks in place, as many at once as the destination allows. Returns those that are not settled.
    async fn transfer_batch(&self, manifest: &Manifest, chunks: Vec<u32>) -> Result<Vec<u32>, StepError> {
        let mut waiting = chunks.into_iter();
        let mut moving = FuturesUnordered::new();
        let (mut failed, mut unsettled) = (None, Vec::new());
        loop {
            // After a failure no new request starts, but the requests in flight complete, so that their results are
            // recorded.
            while failed.is_none() && moving.len() < self.destination.requests() {
                let Some(chunk) = waiting.next() else { break };
                if let Some(entry) = manifest.chunks.get(chunk as usize) {
                    moving.push(self.transfer_one(chunk, entry));
                }
            }
            match moving.next().await {
                Some(Ok(chunk)) => unsettled.extend(chunk),
                Some(Err(error)) => failed = failed.or(Some(error)),
                None => return failed.map_or(Ok(unsettled), Err),
            }
        }
    }

    /// Puts a chunk in place from a store that has it, and records it. Returns the chunk if it is not settled.
    async fn transfer_one(&self, chunk: u32, entry: &ChunkEntry) -> Result<Option<u32>, StepError> {
        let mut retry = ChunkRetry::new(chunk, entry);
        loop {
            self.attempt.lease.ensure_held()?;
            let (account, now) = (self.destination.account(), self.attempt.shared.ports.clock.now());
            let Some(pick) = self.attempt.shared.selector.choose_source(&retry.wanted(self.sources), account, now)
            else {
                return retry.last_source.map_or(Ok(None), |error| Err(error.into()));
            };
            let ChunkResponse { source: pick, put, .. } = self.request_chunk(&mut retry, pick).await?;
            match put {
                Ok(bytes) => {
                    let Attempt { shared, lease, operation } = self.attempt;
                    lease.add_bytes_moved(bytes);
                    shared.monitor.metrics.bytes_moved(operation.kind.as_str(), bytes);
                    if pick.is_failover() {
                        shared.monitor.metrics.failover_bytes(operation.kind.as_str(), bytes);
                    }
                    if !self.destination.is_settled(entry) {
                        return Ok(Some(chunk));
                    }
                    lease.record_chunk(chunk, u64::from(entry.length));
                    return Ok(None);
                }
                Err(error) => self.handle_failure(&mut retry, pick.store, error).await?,
            }
        }
    }

    /// Handles a request that did not put its chunk in place. Returns an error if the attempt must end.
    async fn handle_failure<'s>(
        &self,
        retry: &mut ChunkRetry<'s>,
        store: &'s Store,
        error: PortError,
    ) -> Result<(), StepError> {
        retry.tries += 1;
        let elsewhere = retry.wanted(self.sources).nearest_excluding(&[store]).is_some();
        match retry.decide(&error, elsewhere, self.destination.account()) {
            RetryDecision::OtherSource => {
                // This is the only log line that names the store at fault.
                let hash = &retry.entry.hash;
                tracing::warn!(%store, chunk = %hash, code = error.code, "{CHUNK_UNREADABLE}: {error}");
                retry.exclude_source(store, error);
            }
            RetryDecision::Retry(wait) => {
                if error.kind == ErrorKind::Throttled {
                    self.attempt.shared.monitor.metrics.throttled(self.attempt.operation.kind.as_str());
                }
                self.attempt.pause(wait).await?;
            }
            RetryDecision::Fail => return Err(error.into()),
        }
        Ok(())
    }
}
