//! Asking a store for a chunk, and another one too where it is overdue; and telling those who learn from it how that went.

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

/// The time between two looks whether an overdue chunk can be had elsewhere.
const ALTERNATIVE_POLL: Duration = Duration::from_secs(1);

/// Where chunks go.
pub(crate) trait Destination: Sync {
    /// The account that takes the load.
    fn account(&self) -> &AccountName;

    /// Requests in flight, as long as all their permits are to be had.
    fn requests(&self) -> usize;

    /// Puts a chunk in place from the blob that holds it, and proves it. Returns the bytes that went over the wire: none where
    /// it was there already. Two such requests for one chunk may be in flight; one that is dropped may still land: see
    /// [`Destination::is_settled`].
    fn put(&self, entry: &ChunkEntry, source: &BlobAddress) -> impl Future<Output = PortResult<u64>> + Send;

    /// Whether nothing that was sent for a chunk may still land over what is in place. A destination whose chunks are written
    /// once has nothing else.
    fn is_settled(&self, _entry: &ChunkEntry) -> bool {
        true
    }

    /// Sees to it that nothing that was sent so far may still land, and reads these chunks back. Returns those that are in
    /// place. No request is in flight meanwhile.
    fn settle(&self, chunks: &[(u32, &ChunkEntry)]) -> impl Future<Output = PortResult<Vec<u32>>> + Send {
        std::future::ready(Ok(chunks.iter().map(|(chunk, _)| *chunk).collect()))
    }
}

/// What the chunks have in common that are moved between two looks at the sources.
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
    /// When its store was first asked for the chunk.
    since: Timestamp,
    /// When it was asked this time.
    sent: Timestamp,
}

/// How a request ended.
pub(super) struct ChunkResponse<'a> {
    /// The store that the chunk came from, or did not.
    pub(super) source: SourceChoice<'a>,
    /// The bytes that went over the wire, as [`Destination::put`] tells them.
    pub(super) put: PortResult<u64>,
    /// Whether the chunk was asked for elsewhere too.
    hedged: bool,
}

impl<D: Destination> Batch<'_, D> {
    /// Asks once for a chunk from a store, and of another one where it is overdue.
    pub(super) async fn request_chunk<'s>(
        &self,
        retry: &mut ChunkRetry<'s>,
        pick: SourceChoice<'s>,
    ) -> Result<ChunkResponse<'s>, StepError>
    where
        Self: 's,
    {
        let permit = self.attempt.shared.limiter.acquire(self.destination.account()).await;
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
            // How long it takes for a request was not seen of two at once.
            Ok(_) => !answer.hedged,
            // It is not to blame for what a source does.
            Err(error) => !blames_source(error),
        };
        if says_how_the_account_fares {
            permit.record_result(&answer.put);
        }
        Ok(answer)
    }

    /// Waits for a chunk that is overdue, and until it can be had elsewhere: then it is asked for there too.
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
        // Whoever is only to stop soon waits for what is in flight.
        if self.attempt.lease.ensure_held() == Err(StopReason::Lost) {
            return Err(StopReason::Lost.into());
        }
        if !told {
            // How it went will not be seen.
            self.record_end(&request, &Ok(0));
        }
        tracing::info!(store = %pick.store, other = %instead.store, chunk = %entry.hash, "a chunk is overdue: it is asked for elsewhere too");
        let now = self.now();
        let other = ChunkRequest { entry, source: instead, since: now, sent: now };
        let (pick, put) = self.hedge(pick, put, other).await;
        Ok(ChunkResponse { source: pick, put, hedged: true })
    }

    /// Asks for an overdue chunk elsewhere too. The one that puts it in place ends the other; before that neither is given up,
    /// as the answer of a request that lands is what tells whether it is whole.
    async fn hedge<'s>(
        &self,
        pick: SourceChoice<'s>,
        first: impl Future<Output = PortResult<u64>> + Unpin,
        other: ChunkRequest<'s>,
    ) -> (SourceChoice<'s>, PortResult<u64>) {
        let second = Box::pin(self.put(other));
        match select(first, second).await {
            Either::Left((put @ Ok(1..), _)) => {
                // Which of them is faster has not been seen.
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

    /// Tells how a request ended.
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

    /// Returns when a chunk that is asked for now is overdue.
    async fn until_overdue(&self, entry: &ChunkEntry) {
        match self.attempt.shared.selector.overdue_after(entry) {
            Some(after) => self.attempt.shared.ports.clock.sleep(after).await,
            None => pending().await,
        }
    }

    /// Returns when an overdue chunk can be had elsewhere, and from where.
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

/// What two requests for one chunk came to, of which the first to end did not put it in place: where it was there already, the
/// other one had put it there, and tells whether it stays.
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

    /// A request that finds a chunk in place does not know whether the other one takes it back.
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
