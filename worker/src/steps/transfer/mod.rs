//! Moving chunks: from whichever source has them, many at once, each recorded when it is in place.

mod journey;
mod request;

use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use goldfleet_model::manifest::{ChunkEntry, Manifest};
use goldfleet_model::store::Store;
use goldfleet_ports::error::{ErrorKind, PortError};

use super::{Attempt, Outcome, StepError};
use journey::{Journey, Next};
pub(super) use request::Destination;
use request::{Answer, Batch};

/// How long a step stays with its lease while its sources have nothing new for it, in heartbeats. Then it gives its place
/// to others.
const PATIENCE_BEATS: u32 = 2;

/// The time between two looks at sources that have nothing new.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// Moves every chunk that the hold has not recorded as in place.
pub(super) async fn fill<D: Destination>(
    attempt: Attempt<'_>,
    manifest: &Manifest,
    from: &[Store],
    destination: &D,
) -> Result<Outcome, StepError> {
    let Attempt { shared, hold, operation } = attempt;
    let patience = shared.settings.beat * PATIENCE_BEATS;
    let mut idle = Duration::ZERO;
    loop {
        hold.check()?;
        let missing = missing(attempt);
        if missing.is_empty() {
            return Ok(Outcome::Done);
        }
        let sources = shared.availability.look(&shared.ports, &operation.job, from).await?;
        let at_hand: Vec<u32> = missing.into_iter().filter(|&chunk| sources.nearest(chunk, &[]).is_some()).collect();
        if !at_hand.is_empty() {
            Batch { attempt, sources: &sources, destination }.fetch(manifest, at_hand).await?;
            idle = Duration::ZERO;
        } else if idle < patience {
            shared.ports.clock.sleep(LOOK_AGAIN).await;
            idle += LOOK_AGAIN;
        } else {
            return Ok(Outcome::Continue(shared.settings.beat));
        }
    }
}

/// The chunks to move, beginning at a place of the list that differs between operations, so that no chunk is hot.
fn missing(Attempt { hold, operation, .. }: Attempt<'_>) -> Vec<u32> {
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

impl<D: Destination> Batch<'_, D> {
    /// Puts chunks in place, as many at once as the destination takes.
    async fn fetch(&self, manifest: &Manifest, chunks: Vec<u32>) -> Result<(), StepError> {
        let mut waiting = chunks.into_iter();
        let mut moving = FuturesUnordered::new();
        let mut failed = None;
        loop {
            // After a failure nothing new begins, but what is in flight is awaited, so that what it did is recorded.
            while failed.is_none() && moving.len() < self.destination.requests() {
                let Some(chunk) = waiting.next() else { break };
                if let Some(entry) = manifest.chunks.get(chunk as usize) {
                    moving.push(self.fetch_one(chunk, entry));
                }
            }
            match moving.next().await {
                Some(Ok(())) => {}
                Some(Err(error)) => failed = failed.or(Some(error)),
                None => return failed.map_or(Ok(()), Err),
            }
        }
    }

    /// Puts a chunk in place from whichever store has it.
    async fn fetch_one(&self, chunk: u32, entry: &ChunkEntry) -> Result<(), StepError> {
        let mut journey = Journey::new(chunk, entry);
        loop {
            self.attempt.hold.check()?;
            let (account, now) = (self.destination.account(), self.attempt.shared.ports.clock.now());
            let Some(pick) = self.attempt.shared.detours.pick(&journey.wanted(self.sources), account, now) else {
                return journey.last.map_or(Ok(()), |error| Err(error.into()));
            };
            let Answer { pick, put, .. } = self.ask(&mut journey, pick).await?;
            match put {
                Ok(bytes) => {
                    let Attempt { shared, hold, .. } = self.attempt;
                    hold.moved(bytes);
                    shared.vitals.metrics.moved(hold.kind(), bytes);
                    if pick.is_detour() {
                        shared.vitals.metrics.detoured(hold.kind(), bytes);
                    }
                    hold.record(chunk, u64::from(entry.length));
                    return Ok(());
                }
                Err(error) => self.failed(&mut journey, pick.store, error).await?,
            }
        }
    }

    /// Sees to what follows a request that did not put its chunk in place. An error where that ends the attempt.
    async fn failed<'s>(&self, journey: &mut Journey<'s>, store: &'s Store, error: PortError) -> Result<(), StepError> {
        journey.tries += 1;
        let elsewhere = journey.wanted(self.sources).nearest_but(&[store]).is_some();
        match journey.next(&error, elsewhere, self.destination.account()) {
            Next::Elsewhere => {
                // It is said here, once, which store was at fault.
                let hash = &journey.entry.hash;
                tracing::warn!(%store, chunk = %hash, code = error.code, "a chunk can't be had here: {error}");
                journey.give_up(store, error);
            }
            Next::Again(wait) => {
                if error.kind == ErrorKind::Throttled {
                    self.attempt.shared.vitals.metrics.throttled(self.attempt.hold.kind());
                }
                self.attempt.shared.ports.clock.sleep(wait).await;
            }
            Next::Fail => return Err(error.into()),
        }
        Ok(())
    }
}
