//! Moving chunks: from whichever source has them, many at once, each recorded when it is in place.

use std::future::Future;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use futures::StreamExt as _;
use futures::future::{Either, select};
use futures::stream::FuturesUnordered;
use goldfleet_shared::model::ids::AccountName;
use goldfleet_shared::model::manifest::{ChunkEntry, Manifest, chunk_name};
use goldfleet_shared::model::operation::Operation;
use goldfleet_shared::model::store::{BlobAddress, Store};
use goldfleet_shared::ports::clock::between;
use goldfleet_shared::ports::error::{ErrorKind, PortError, PortResult};
use jiff::Timestamp;

use super::{Outcome, Shared, StepError};
use crate::availability::Sources;
use crate::detour::{Pick, blames_source};
use crate::hold::{Hold, Stop};

/// How often one request is tried in an attempt, before the attempt fails.
const TRIES: u32 = 4;

/// How often a store is asked that can't be read, before the chunk is fetched from another.
const TRIES_OF_A_SOURCE: u32 = 2;

/// How long a step stays with its lease while its sources have nothing new for it, in heartbeats. Then it gives its place
/// to others.
const PATIENCE_BEATS: u32 = 2;

/// The time between two looks at sources that have nothing new.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// The time between two looks whether an overdue chunk can be had elsewhere.
const LOOK_ELSEWHERE: Duration = Duration::from_secs(1);

/// A chunk to move, and how it went.
pub(super) trait Destination: Sync {
    /// The account that takes the load.
    fn account(&self) -> &AccountName;

    /// Requests in flight, as long as all their permits are to be had.
    fn requests(&self) -> usize;

    /// Puts a chunk in place from the blob that holds it. Returns the bytes that went over the wire: none where it was there
    /// already. Two such requests for one chunk may be in flight; one that is dropped may still land, and do no harm then.
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
        let waiting: Vec<u32> = missing.into_iter().filter(|&chunk| sources.nearest(chunk, &[]).is_some()).collect();
        if waiting.is_empty() {
            let patience = shared.settings.beat * PATIENCE_BEATS;
            if idle >= patience {
                return Ok(Outcome::Continue(shared.settings.beat));
            }
            shared.ports.clock.sleep(LOOK_AGAIN).await;
            idle += LOOK_AGAIN;
            continue;
        }
        idle = Duration::ZERO;
        let batch = Moving { shared, hold, manifest, sources: &sources, destination };
        let mut waiting = waiting.into_iter();
        let mut moving = FuturesUnordered::new();
        let mut failed = None;
        loop {
            // After a failure nothing new begins, but what is in flight is awaited, so that what it did is recorded.
            while failed.is_none() && moving.len() < destination.requests() {
                let Some(chunk) = waiting.next() else { break };
                moving.push(batch.chunk(chunk));
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

/// What the chunks of a batch share.
struct Moving<'a, D> {
    shared: &'a Shared,
    hold: &'a Hold,
    manifest: &'a Manifest,
    sources: &'a Sources<'a>,
    destination: &'a D,
}

impl<D: Destination> Moving<'_, D> {
    /// Puts a chunk in place from whichever store has it.
    async fn chunk(&self, chunk: u32) -> Result<(), StepError> {
        let Some(entry) = self.manifest.chunks.get(chunk as usize) else { return Ok(()) };
        let mut journey = Journey { entry, lacking: Vec::new(), last: None, asked: None, tries: 0 };
        loop {
            self.hold.check()?;
            let (account, now) = (self.destination.account(), self.shared.ports.clock.now());
            let Some(pick) = self.shared.detours.pick(self.sources, chunk, &journey.lacking, account, now) else {
                return journey.last.map_or(Ok(()), |error| Err(error.into()));
            };
            let (pick, put) = self.ask(chunk, &mut journey, pick).await?;
            match put {
                Ok(bytes) => {
                    self.hold.moved(bytes);
                    self.shared.vitals.metrics.moved(self.hold.kind(), bytes, pick.is_detour());
                    self.hold.record(chunk, u64::from(entry.length));
                    return Ok(());
                }
                Err(error) => self.failed(chunk, &mut journey, pick.store, error).await?,
            }
        }
    }

    /// Asks once for a chunk from a store, and of another one where it is overdue; and tells those who learn from it how that
    /// went. Returns the store that it came from, or did not.
    async fn ask<'s>(
        &self,
        chunk: u32,
        journey: &mut Journey<'s>,
        pick: Pick<'s>,
    ) -> Result<(Pick<'s>, PortResult<u64>), StepError>
    where
        Self: 's,
    {
        let account = self.destination.account();
        let permit = self.shared.governor.admit(account).await;
        self.hold.check()?;
        let since = journey.since(pick.store, self.shared.ports.clock.now());
        let mut first = Box::pin(self.put(journey.entry, &pick));
        let mut told = false;
        let waited = tokio::select! {
            biased;
            put = &mut first => Waited::Ended(put),
            instead = self.instead(chunk, journey, &pick, &mut told) => Waited::Overdue(instead),
        };
        let (pick, put) = match waited {
            Waited::Ended(put) => {
                if !told {
                    self.ended(&pick, journey.entry, since, &put);
                }
                (pick, put)
            }
            Waited::Overdue(instead) => {
                // Whoever is only to stop soon waits for what is in flight.
                if self.hold.check() == Err(Stop::Lost) {
                    return Err(Stop::Lost.into());
                }
                if !told {
                    // How it went will not be seen.
                    self.ended(&pick, journey.entry, since, &Ok(0));
                }
                match self.race(journey.entry, (pick, first), instead).await {
                    // How long the account takes for a request has not been seen.
                    (pick, put @ Ok(_)) => return Ok((pick, put)),
                    failed => failed,
                }
            }
        };
        // The account that the load goes to is not to blame for what a source does.
        if !put.as_ref().is_err_and(blames_source) {
            permit.ended(&put);
        }
        Ok((pick, put))
    }

    async fn put(&self, entry: &ChunkEntry, pick: &Pick<'_>) -> PortResult<u64> {
        self.destination.put(entry, &pick.store.container().blob(chunk_name(&entry.hash))).await
    }

    fn ended(&self, pick: &Pick<'_>, entry: &ChunkEntry, since: Timestamp, put: &PortResult<u64>) {
        let now = self.shared.ports.clock.now();
        self.shared.detours.ended(pick, self.destination.account(), entry, between(since, now), now, put);
    }

    /// Returns when a chunk that is asked for now is overdue and can be had elsewhere, and from where. `told` becomes whether
    /// it has been told by then how that went.
    async fn instead<'s>(&self, chunk: u32, journey: &Journey<'s>, pick: &Pick<'s>, told: &mut bool) -> Pick<'s>
    where
        Self: 's,
    {
        let (clock, account, detours) = (&self.shared.ports.clock, self.destination.account(), &self.shared.detours);
        let Some(after) = detours.overdue_after(journey.entry) else { return std::future::pending().await };
        let since = clock.now();
        clock.sleep(after).await;
        *told = detours.overdue(pick, account, journey.entry, since, clock.now());
        loop {
            let now = clock.now();
            if let Some(instead) = detours.instead(pick, self.sources, chunk, &journey.lacking, account, now) {
                return instead;
            }
            clock.sleep(LOOK_ELSEWHERE).await;
        }
    }

    /// Asks for an overdue chunk elsewhere too. The one that puts it in place ends the other; before that neither is given up,
    /// as the answer of a request that lands is what tells whether it is whole.
    async fn race<'s>(
        &self,
        entry: &ChunkEntry,
        (pick, first): (Pick<'s>, impl Future<Output = PortResult<u64>> + Unpin),
        instead: Pick<'s>,
    ) -> (Pick<'s>, PortResult<u64>) {
        tracing::info!(store = %pick.store, other = %instead.store, chunk = %entry.hash, "a chunk is overdue: it is asked for elsewhere too");
        let since = self.shared.ports.clock.now();
        let second = Box::pin(self.put(entry, &instead));
        match select(first, second).await {
            Either::Left((put @ Ok(1..), _)) => {
                // Which of them is faster has not been seen.
                self.ended(&instead, entry, since, &Ok(0));
                (pick, put)
            }
            Either::Left((put, second)) => {
                let other = second.await;
                self.ended(&instead, entry, since, &other);
                settled((pick, put), (instead, other))
            }
            Either::Right((put, first)) => {
                self.ended(&instead, entry, since, &put);
                match put {
                    Ok(1..) => (instead, put),
                    _ => settled((instead, put), (pick, first.await)),
                }
            }
        }
    }

    /// Decides whether a chunk that did not come is asked for again, and where.
    async fn failed<'s>(
        &self,
        chunk: u32,
        journey: &mut Journey<'s>,
        store: &'s Store,
        error: PortError,
    ) -> Result<(), StepError>
    where
        Self: 's,
    {
        let hash = &journey.entry.hash;
        journey.tries += 1;
        let elsewhere = |lacking: &[&Store]| self.sources.nearest(chunk, &[lacking, &[store]].concat()).is_some();
        let given_up =
            blames_source(&error) && journey.tries >= TRIES_OF_A_SOURCE && elsewhere(journey.lacking.as_slice());
        // Another place may have it whole. It is said here, once, which store was at fault.
        if is_the_sources_fault(&error) || given_up {
            tracing::warn!(%store, chunk = %hash, code = error.code, "a chunk can't be had here: {error}");
            journey.give_up(store, error);
            return Ok(());
        }
        if !error.is_retryable() || error.kind == ErrorKind::Fenced || journey.tries >= TRIES {
            return Err(error.into());
        }
        if error.kind == ErrorKind::Throttled {
            self.shared.vitals.metrics.throttled(self.hold.kind());
        }
        let wait = error.retry_after.unwrap_or_else(|| wait(self.destination.account(), chunk, journey.tries));
        self.shared.ports.clock.sleep(wait).await;
        Ok(())
    }
}

/// What waiting for a request came to.
enum Waited<'a> {
    /// Its end.
    Ended(PortResult<u64>),
    /// It is overdue, and this store has the chunk too.
    Overdue(Pick<'a>),
}

/// What two requests for one chunk came to, of which the first to end did not put it in place: where it was there already, the
/// other one had put it there, and tells whether it stays.
fn settled<P>(one: (P, PortResult<u64>), other: (P, PortResult<u64>)) -> (P, PortResult<u64>) {
    match (&one.1, &other.1) {
        (Err(error), _) if is_the_sources_fault(error) => one,
        (_, Err(error)) if is_the_sources_fault(error) => other,
        (Ok(_), Err(_)) => one,
        _ => other,
    }
}

/// How far a chunk is on its way to its place.
struct Journey<'a> {
    entry: &'a ChunkEntry,
    /// Stores that it can't be had from.
    lacking: Vec<&'a Store>,
    /// Why not from the last of these.
    last: Option<PortError>,
    /// The store that was asked last, and since when.
    asked: Option<(&'a Store, Timestamp)>,
    tries: u32,
}

impl<'a> Journey<'a> {
    /// Since when a store has been asked, which is asked now.
    fn since(&mut self, store: &'a Store, now: Timestamp) -> Timestamp {
        match self.asked {
            Some((asked, since)) if asked == store => since,
            _ => {
                self.asked = Some((store, now));
                now
            }
        }
    }

    fn give_up(&mut self, store: &'a Store, error: PortError) {
        self.lacking.push(store);
        self.last = Some(error);
        self.tries = 0;
    }
}

/// The wait after so many tries: 0.2, 0.8, 3.2 s, each between half and one and a half times as long, so that what failed
/// together does not come back together. Not by chance, as rehearsals must repeat.
fn wait(account: &AccountName, chunk: u32, tries: u32) -> Duration {
    let mut hasher = DefaultHasher::new();
    (account, chunk, tries).hash(&mut hasher);
    let percent = u32::try_from(hasher.finish() % 101).unwrap_or(0);
    Duration::from_millis(50 << (2 * tries)) * (50 + percent) / 100
}

fn is_the_sources_fault(error: &PortError) -> bool {
    matches!(error.code.as_str(), "source-not-found" | "source-corrupt")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A request that finds a chunk in place does not know whether the other one takes it back.
    #[test]
    fn what_a_race_came_to_is_told_by_the_one_that_wrote() {
        let corrupt = || Err(PortError::new(ErrorKind::Corrupt, "other bytes").with_code("source-corrupt"));
        let lost = || Err(PortError::new(ErrorKind::Unavailable, "no answer"));
        for (one, other, told) in [
            (Ok(0), Ok(9), "other"),
            (Ok(0), corrupt(), "other"),
            (corrupt(), Ok(0), "one"),
            (Ok(0), lost(), "one"),
            (lost(), Ok(9), "other"),
            (lost(), lost(), "other"),
        ] {
            let what = format!("{one:?}, then {other:?}");
            assert_eq!(settled(("one", one), ("other", other)).0, told, "{what}");
        }
    }

    #[test]
    fn what_failed_together_does_not_come_back_together() {
        let account: AccountName = "stage1".parse().unwrap();
        for (tries, middle) in [(1, 200), (2, 800), (3, 3200)] {
            let waits: Vec<u128> = (0..100).map(|chunk| wait(&account, chunk, tries).as_millis()).collect();
            assert!(waits.iter().all(|wait| (middle / 2..=middle * 3 / 2).contains(wait)), "{waits:?}");
            let (least, most) = (waits.iter().min().unwrap(), waits.iter().max().unwrap());
            assert!(most - least > middle * 3 / 4, "{waits:?}");
            assert_eq!(waits[7], wait(&account, 7, tries).as_millis());
        }
    }
}
