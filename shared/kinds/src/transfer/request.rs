//! Requests for chunks: sends a hedged request if a chunk is overdue, and reports results to the limiter and the
//! selector.

use std::future::{Future, pending};
use std::time::Duration;

use futures::future::{Either, select};
use goldfleet_model::ids::AccountName;
use goldfleet_model::manifest::ChunkEntry;
use goldfleet_model::store::BlobAddress;
use goldfleet_ports::clock::elapsed;
use goldfleet_ports::error::PortResult;
use jiff::Timestamp;

use super::chunk_retry::{ChunkRetry, is_source_fault};
use crate::context::Attempt;
use crate::lease::StopReason;
use crate::outcome::StepError;
use crate::transfer::availability::ChunkSources;
use crate::transfer::failover::{SourceChoice, blames_source};

/// The interval of checking whether another store can deliver an overdue chunk.
const ALTERNATIVE_POLL: Duration = Duration::from_secs(1);

/// The destination of chunks.
pub(crate) trait Destination: Sync {
    /// The account that receives the chunks.
    fn account(&self) -> &AccountName;

    /// The maximum number of requests in flight, if the limiter permits them.
    fn requests(&self) -> usize;

    /// Puts a chunk in place from the blob that contains it, and proves it. Returns the number of transferred bytes,
    /// which is 0 if the chunk was in place already. Two such requests for one chunk may be in flight. A request that
    /// is dropped may still be written: see [`Destination::is_settled`].
    fn put(&self, entry: &ChunkEntry, source: &BlobAddress) -> impl Future<Output = PortResult<u64>> + Send;

    /// Whether no request for a chunk can still overwrite what is in place. Always true for a destination that writes
    /// each chunk only once.
    fn is_settled(&self, _entry: &ChunkEntry) -> bool {
        true
    }

    /// Ensures that no earlier request can still be written, and reads these chunks back. Returns those that are in
    /// place. No request is in flight during this call.
    fn settle(&self, chunks: &[(u32, &ChunkEntry)]) -> impl Future<Output = PortResult<Vec<u32>>> + Send {
        std::future::ready(Ok(chunks.iter().map(|(chunk, _)| *chunk).collect()))
    }
}

/// What all chunks share that are moved between two listings of the sources.
pub(super) struct Batch<'a, D> {
    pub(super) attempt: Attempt<'a>,
    pub(super) sources: &'a ChunkSources<'a>,
    pub(super) destination: &'a D,
}

/// A request for a chunk.
#[derive(Clone, Copy)]
struct ChunkRequest<'a> {
    entry: &'a ChunkEntry,
    source: SourceChoice<'a>,
    /// The time of the first request for the chunk to its store.
    since: Timestamp,
    /// The time of this request.
    sent: Timestamp,
}

/// The result of a request.
pub(super) struct ChunkResponse<'a> {
    /// The store that the result applies to.
    pub(super) source: SourceChoice<'a>,
    /// The number of transferred bytes, as in [`Destination::put`].
    pub(super) put: PortResult<u64>,
    /// Whether a hedged request was sent.
    hedged: bool,
}

impl<D: Destination> Batch<'_, D> {
    /// Sends one request for a chunk to a store, and a hedged request if the chunk is overdue.
    pub(super) async fn request_chunk<'s>(
        &self,
        retry: &mut ChunkRetry<'s>,
        pick: SourceChoice<'s>,
    ) -> Result<ChunkResponse<'s>, StepError>
    where
        Self: 's,
    {
        let permit = self.attempt.shared.limiter.acquire(self.destination.account()).await?;
        self.attempt.lease.ensure_held()?;
        let sent = self.now();
        let request =
            ChunkRequest { entry: retry.entry, source: pick, since: retry.requested_at(pick.store, sent), sent };
        let mut put = Box::pin(self.put(request));
        let in_time = tokio::select! {
            biased;
            put = &mut put => Some(put),
            () = self.until_overdue(request.entry) => None,
        };
        let answer = match in_time {
            Some(put) => {
                self.record_end(&request, &put);
                ChunkResponse { source: pick, put, hedged: false }
            }
            None => self.wait_or_hedge(retry, request, put).await?,
        };
        let says_how_the_account_fares = match &answer.put {
            // The latency of one request cannot be derived from two concurrent ones.
            Ok(_) => !answer.hedged,
            // An error of the source does not concern the receiving account.
            Err(error) => !blames_source(error),
        };
        if says_how_the_account_fares {
            permit.record_result(&answer.put);
        }
        Ok(answer)
    }

    /// Waits for an overdue chunk until another store can deliver it, and then sends a hedged request.
    async fn wait_or_hedge<'s>(
        &self,
        retry: &ChunkRetry<'s>,
        request: ChunkRequest<'s>,
        mut put: impl Future<Output = PortResult<u64>> + Unpin,
    ) -> Result<ChunkResponse<'s>, StepError>
    where
        Self: 's,
    {
        let ChunkRequest { entry, source: pick, sent, .. } = request;
        let told =
            self.attempt.shared.selector.record_overdue(&pick, self.destination.account(), entry, sent, self.now());
        let instead = tokio::select! {
            biased;
            put = &mut put => {
                if !told {
                    self.record_end(&request, &put);
                }
                return Ok(ChunkResponse { source: pick, put, hedged: false });
            }
            instead = self.wait_for_alternative(retry, &pick) => instead,
        };
        // For any other stop reason the requests in flight complete.
        if self.attempt.lease.ensure_held() == Err(StopReason::Lost) {
            return Err(StopReason::Lost.into());
        }
        if !told {
            // The result of this request will not be observed.
            self.record_end(&request, &Ok(0));
        }
        tracing::info!(store = %pick.store, other = %instead.store, chunk = %entry.hash, "a chunk is overdue: it is requested from another store too");
        let now = self.now();
        let other = ChunkRequest { entry, source: instead, since: now, sent: now };
        let (pick, put) = self.hedge(pick, put, other).await;
        Ok(ChunkResponse { source: pick, put, hedged: true })
    }

    /// Sends a hedged request for an overdue chunk. The request that puts the chunk in place ends the other one. Until
    /// then neither is abandoned, because the response to the request that is written shows whether the chunk is
    /// intact.
    async fn hedge<'s>(
        &self,
        pick: SourceChoice<'s>,
        first: impl Future<Output = PortResult<u64>> + Unpin,
        other: ChunkRequest<'s>,
    ) -> (SourceChoice<'s>, PortResult<u64>) {
        let second = Box::pin(self.put(other));
        match select(first, second).await {
            Either::Left((put @ Ok(1..), _)) => {
                // It was not observed which of the two is faster.
                self.record_end(&other, &Ok(0));
                (pick, put)
            }
            Either::Left((put, second)) => {
                let instead = second.await;
                self.record_end(&other, &instead);
                hedge_result((pick, put), (other.source, instead))
            }
            Either::Right((put, first)) => {
                self.record_end(&other, &put);
                match put {
                    Ok(1..) => (other.source, put),
                    _ => hedge_result((other.source, put), (pick, first.await)),
                }
            }
        }
    }

    fn now(&self) -> Timestamp {
        self.attempt.shared.ports.clock.now()
    }

    async fn put(&self, request: ChunkRequest<'_>) -> PortResult<u64> {
        let source = request.source.store.container().chunk(&request.entry.hash);
        self.destination.put(request.entry, &source).await
    }

    /// Reports the result of a request.
    fn record_end(&self, request: &ChunkRequest<'_>, put: &PortResult<u64>) {
        let ChunkRequest { entry, source: pick, since, .. } = request;
        let now = self.now();
        self.attempt.shared.selector.record_result(
            pick,
            self.destination.account(),
            entry,
            elapsed(*since, now),
            now,
            put,
        );
    }

    /// Waits until a chunk that is requested now is overdue.
    async fn until_overdue(&self, entry: &ChunkEntry) {
        match self.attempt.shared.selector.overdue_after(entry) {
            Some(after) => self.attempt.shared.ports.clock.sleep(after).await,
            None => pending().await,
        }
    }

    /// Waits until another store can deliver an overdue chunk, and returns it.
    async fn wait_for_alternative<'s>(&self, retry: &ChunkRetry<'s>, pick: &SourceChoice<'s>) -> SourceChoice<'s>
    where
        Self: 's,
    {
        let (clock, account, selector) =
            (&self.attempt.shared.ports.clock, self.destination.account(), &self.attempt.shared.selector);
        loop {
            let now = clock.now();
            if let Some(instead) = selector.alternative_source(pick, &retry.wanted(self.sources), account, now) {
                return instead;
            }
            clock.sleep(ALTERNATIVE_POLL).await;
        }
    }
}

/// The result of two requests for one chunk, of which the first to end did not write it. If that request found the
/// chunk in place, the other one wrote it, and its response shows whether the chunk stays.
fn hedge_result<P>(one: (P, PortResult<u64>), other: (P, PortResult<u64>)) -> (P, PortResult<u64>) {
    match (&one.1, &other.1) {
        (Err(error), _) if is_source_fault(error) => one,
        (_, Err(error)) if is_source_fault(error) => other,
        (Ok(_), Err(_)) => one,
        _ => other,
    }
}

#[cfg(test)]
mod tests {
    use goldfleet_ports::error::{ErrorKind, PortError};

    use super::*;

    /// A request that finds a chunk in place does not know whether the other request will remove it.
    #[test]
    fn hedged_result_is_taken_from_writer() {
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
            assert_eq!(hedge_result(("one", one), ("other", other)).0, told, "{what}");
        }
    }
}
