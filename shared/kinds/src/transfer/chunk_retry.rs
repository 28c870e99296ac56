//! The state of the transfer of one chunk, and the decision after a failed request.
//!
//! Pure: the caller reports all events.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use goldfleet_model::ids::AccountName;
use goldfleet_model::manifest::ChunkEntry;
use goldfleet_model::store::Store;
use goldfleet_ports::backoff::Backoff;
use goldfleet_ports::error::{ErrorKind, PortError, SourceFault};
use goldfleet_ports::timeout::fits_in_place;
use jiff::Timestamp;

use crate::transfer::availability::{ChunkSources, WantedChunk};
use crate::transfer::failover::blames_source;

/// The maximum number of tries of one request before the attempt fails.
const MAX_TRIES: u32 = 4;

/// The maximum number of tries at a store that cannot be read before the chunk is read from another store.
const MAX_TRIES_PER_SOURCE: u32 = 2;

/// The waits between tries, before jitter: 0.2, 0.8, 3.2 s.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(5)).with_factor(4.0);

/// The state of the transfer of one chunk.
pub(super) struct ChunkRetry<'a> {
    /// The index of the chunk in the manifest.
    chunk: u32,
    pub(super) entry: &'a ChunkEntry,
    /// The stores that were excluded for this chunk.
    lacking: Vec<&'a Store>,
    /// The error of the store that was excluded last.
    pub(super) last_source: Option<PortError>,
    /// The store of the last request, and the time of the first request to it.
    requested_at: Option<(&'a Store, Timestamp)>,
    /// The number of failed tries since a store was last excluded.
    pub(super) tries: u32,
}

/// The decision after a failed request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum RetryDecision {
    /// Exclude the store for this chunk. Another store may have an intact copy.
    OtherSource,
    /// Send the request again after this time.
    Retry(Duration),
    /// Fail the attempt.
    Fail,
}

impl<'a> ChunkRetry<'a> {
    /// Creates the state of a transfer that has not started.
    pub(super) fn new(chunk: u32, entry: &'a ChunkEntry) -> Self {
        Self { chunk, entry, lacking: Vec::new(), last_source: None, requested_at: None, tries: 0 }
    }

    /// The chunk and the stores that it can still be read from.
    pub(super) fn wanted<'w>(&'w self, sources: &'w ChunkSources<'a>) -> WantedChunk<'w, 'a> {
        WantedChunk { chunk: self.chunk, sources, excluded: &self.lacking }
    }

    /// The time of the first request to `store`, which is requested again now.
    pub(super) fn requested_at(&mut self, store: &'a Store, now: Timestamp) -> Timestamp {
        match self.requested_at {
            Some((asked, since)) if asked == store => since,
            _ => {
                self.requested_at = Some((store, now));
                now
            }
        }
    }

    /// The decision after the failed tries so far, of which the last one had this error. `elsewhere` is whether another
    /// store has the chunk. `to` is the account of the destination.
    pub(super) fn decide(&self, error: &PortError, elsewhere: bool, to: &AccountName) -> RetryDecision {
        let unreadable = blames_source(error) && self.tries >= MAX_TRIES_PER_SOURCE && elsewhere;
        if is_source_fault(error) || unreadable {
            RetryDecision::OtherSource
        } else if !error.is_retryable()
            || error.kind == ErrorKind::Fenced
            || self.tries >= MAX_TRIES
            || !fits_in_place(error.retry_after)
        {
            RetryDecision::Fail
        } else {
            RetryDecision::Retry(error.retry_after.unwrap_or_else(|| backoff(to, self.chunk, self.tries)))
        }
    }

    /// Excludes a store for this chunk.
    pub(super) fn exclude_source(&mut self, store: &'a Store, error: PortError) {
        self.lacking.push(store);
        self.last_source = Some(error);
        self.tries = 0;
    }
}

/// Whether a store lacks a chunk or has a damaged copy.
pub(super) fn is_source_fault(error: &PortError) -> bool {
    matches!(error.source_fault(), Some(SourceFault::Missing | SourceFault::Corrupt))
}

/// The wait after this number of tries: 0.5 to 1.5 times that of [`BACKOFF`], so that requests that failed together are
/// not repeated together. A hash decides the jitter, because rehearsals must repeat.
fn backoff(account: &AccountName, chunk: u32, tries: u32) -> Duration {
    let mut hasher = DefaultHasher::new();
    (account, chunk, tries).hash(&mut hasher);
    let percent = u32::try_from(hasher.finish() % 101).unwrap_or(0);
    BACKOFF.wait(tries.saturating_sub(1)) * (50 + percent) / 100
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_waits_are_jittered() {
        let account: AccountName = "stage1".parse().unwrap();
        for (tries, middle) in [(1, 200), (2, 800), (3, 3200)] {
            let waits: Vec<u128> = (0..100).map(|chunk| backoff(&account, chunk, tries).as_millis()).collect();
            assert!(waits.iter().all(|wait| (middle / 2..=middle * 3 / 2).contains(wait)), "{waits:?}");
            let (least, most) = (waits.iter().min().unwrap(), waits.iter().max().unwrap());
            assert!(most - least > middle * 3 / 4, "{waits:?}");
            assert_eq!(waits[7], backoff(&account, 7, tries).as_millis());
        }
    }
}
