//! A target's VHD as what chunks are put into, and how their bytes are proven to be there.
//!
//! A run that is written comes with a proof, or its request fails. Three things have none, and are read back: a chunk over
//! which an earlier, unanswered request for it may still land; what the service copied of an earlier version; and what lies
//! where the disk is zero, in a VHD that began as such a copy.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use goldfleet_disk::chunk::is_zero;
use goldfleet_model::ids::AccountName;
use goldfleet_model::manifest::{ChunkEntry, Manifest, Run};
use goldfleet_model::ranges::{split, subtract};
use goldfleet_model::store::BlobAddress;
use goldfleet_ports::blob_store::{Fence, MAX_PAGE_WRITE, SourceRange};
use goldfleet_ports::error::{ErrorKind, PortError, PortResult};

use super::base::BaseVersion;
use crate::context::Attempt;
use crate::lease::StopReason;
use crate::outcome::StepError;
use crate::transfer::Destination;

/// A VHD that is being filled.
pub(super) struct VhdDestination<'a> {
    attempt: Attempt<'a>,
    vhd: &'a BlobAddress,
    fence: Mutex<Fence>,
    base: Option<&'a BaseVersion>,
    /// Requests in flight.
    requests: usize,
    unanswered: Unanswered,
}

impl<'a> VhdDestination<'a> {
    /// The VHD at a place, under a fence that was taken on it. `base` is the earlier version that it began as.
    pub(super) fn new(attempt: Attempt<'a>, vhd: &'a BlobAddress, fence: Fence, base: Option<&'a BaseVersion>) -> Self {
        let requests = attempt.shared.settings.chunk_requests;
        Self { attempt, vhd, fence: Mutex::new(fence), base, requests, unanswered: Unanswered::default() }
    }

    /// The newest fence that was taken.
    pub(super) fn fence(&self) -> Fence {
        *self.fence.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// To be asked before every request: a chunk may have more runs than the lease has time left for. Asked to stop for any
    /// other reason, a chunk that was begun is still made whole.
    fn check(&self) -> PortResult<()> {
        match self.attempt.lease.ensure_held() {
            Err(StopReason::Lost) => Err(PortError::new(ErrorKind::Fenced, format!("{}: the lease is lost", self.vhd))),
            _ => Ok(()),
        }
    }

    /// Reads back the chunks that the earlier version has too, and records those that the service copied right. The others are
    /// left to be moved like any chunk that differs.
    pub(super) async fn record_what_stays(&self, manifest: &Manifest) -> Result<(), StepError> {
        let Some(base) = self.base else { return Ok(()) };
        let lease = self.attempt.lease;
        let (same, done) = (base.unchanged_chunks(manifest), lease.progress().done);
        let mut waiting =
            (0_u32..).zip(&manifest.chunks).filter(|(chunk, _)| same.contains(*chunk) && !done.contains(*chunk));
        let mut reading = FuturesUnordered::new();
        loop {
            while reading.len() < self.requests {
                let Some((chunk, entry)) = waiting.next() else { break };
                lease.ensure_held()?;
                reading.push(async move { PortResult::Ok((chunk, entry, self.is_in_place(entry).await?)) });
            }
            let Some(read) = reading.next().await else { return Ok(()) };
            let (chunk, entry, in_place) = read?;
            if in_place {
                lease.record_chunk(chunk, u64::from(entry.length));
            } else {
                tracing::warn!(vhd = %self.vhd, chunk = %entry.hash, "the service copied a chunk of an earlier version wrong: it is written again");
            }
        }
    }

    /// Whether each run of a chunk has its checksum, as read back.
    async fn is_in_place(&self, entry: &ChunkEntry) -> PortResult<bool> {
        for run in &entry.runs {
            let permit = self.attempt.shared.limiter.acquire(self.account()).await;
            self.check()?;
            let holds = self.attempt.blobs().holds(&at(self.vhd, run.range(), run)).await;
            permit.record_result(&holds);
            if !holds? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Clears what the service copied to where the disk is zero. Data of the earlier version have been cleared before; what is
    /// found here arrived damaged, or was not cleared.
    pub(super) async fn clear_where_the_disk_is_zero(&self, manifest: &Manifest) -> Result<(), StepError> {
        if self.base.is_none() {
            return Ok(());
        }
        let blobs = self.attempt.blobs();
        let data: Vec<Range<u64>> = manifest.chunks.iter().flat_map(|entry| &entry.runs).map(Run::range).collect();
        for held in blobs.page_ranges(self.vhd).await? {
            let on_disk = held.start..held.end.min(manifest.size);
            for (start, length) in subtract(&on_disk, &data).iter().flat_map(|gap| split(gap, PIECE)) {
                self.attempt.lease.ensure_held()?;
                let range = start..start + length as u64;
                if !is_zero(&blobs.get(self.vhd, Some(range.clone())).await?) {
                    blobs.clear_pages(self.vhd, self.fence(), range).await?;
                }
            }
        }
        Ok(())
    }
}

/// How much is read at once where the disk is zero, in bytes.
#[expect(clippy::cast_possible_truncation, reason = "4 MiB fit 32 bits")]
const PIECE: usize = MAX_PAGE_WRITE as usize;

/// A run's bytes in this range of a blob, with the run's checksums.
fn at(blob: &BlobAddress, range: Range<u64>, run: &Run) -> SourceRange {
    SourceRange { blob: blob.clone(), range, crc64: run.crc64, md5: Some(run.md5) }
}

impl Destination for VhdDestination<'_> {
    fn account(&self) -> &AccountName {
        &self.vhd.container.account
    }

    fn requests(&self) -> usize {
        self.requests
    }

    async fn put(&self, entry: &ChunkEntry, source: &BlobAddress) -> PortResult<u64> {
        let (blobs, fence) = (self.attempt.blobs(), self.fence());
        for range in self.base.iter().flat_map(|base| base.stale_ranges(entry)) {
            self.check()?;
            blobs.clear_pages(self.vhd, fence, range).await?;
        }
        let mut moved = 0;
        for run in &entry.runs {
            let (start, length) = (u64::from(run.at), u64::from(run.length));
            self.check()?;
            let request = self.unanswered.begin(entry);
            let put = blobs.put_pages_from(self.vhd, fence, run.offset, &at(source, start..start + length, run)).await;
            request.ended(&put);
            put?;
            moved += length;
        }
        Ok(moved)
    }

    fn is_settled(&self, entry: &ChunkEntry) -> bool {
        !self.unanswered.has(entry)
    }

    /// A newer fence has the service refuse all that was sent before.
    async fn settle(&self, chunks: &[(u32, &ChunkEntry)]) -> PortResult<Vec<u32>> {
        self.check()?;
        let fence = self.attempt.blobs().take_fence(self.vhd).await?;
        *self.fence.lock().unwrap_or_else(PoisonError::into_inner) = fence;
        self.unanswered.forget();
        let mut in_place = Vec::with_capacity(chunks.len());
        for (chunk, entry) in chunks {
            if self.is_in_place(entry).await? {
                in_place.push(*chunk);
            } else {
                tracing::warn!(vhd = %self.vhd, chunk = %entry.hash, "a request that landed late damaged a chunk: it is written again");
            }
        }
        Ok(in_place)
    }
}

/// The chunks that a request was sent for which may still land, by where they begin on the disk. What it writes then, nobody
/// will be told.
#[derive(Default)]
struct Unanswered(Mutex<HashSet<u64>>);

/// A request under way. Dropped without its end, it counts as unanswered.
struct Request<'a> {
    of: &'a Unanswered,
    place: Option<u64>,
}

impl Unanswered {
    fn begin(&self, entry: &ChunkEntry) -> Request<'_> {
        Request { of: self, place: place(entry) }
    }

    fn has(&self, entry: &ChunkEntry) -> bool {
        place(entry).is_some_and(|place| self.places().contains(&place))
    }

    fn forget(&self) {
        self.places().clear();
    }

    fn places(&self) -> MutexGuard<'_, HashSet<u64>> {
        // Nothing panics while it holds the lock; what is known is whole in any case.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Request<'_> {
    fn ended(mut self, put: &PortResult<()>) {
        if !put.as_ref().is_err_and(may_still_land) {
            self.place = None;
        }
    }
}

impl Drop for Request<'_> {
    fn drop(&mut self) {
        self.of.places().extend(self.place.take());
    }
}

fn place(entry: &ChunkEntry) -> Option<u64> {
    entry.runs.first().map(|run| run.offset)
}

/// Whether a request that ended with this error may have its effect later: its answer was lost, or the service says of itself
/// that it failed. A refusal, and what a source refused, has none.
fn may_still_land(error: &PortError) -> bool {
    error.kind == ErrorKind::Unavailable && error.source_fault().is_none()
}

#[cfg(test)]
mod tests {
    use goldfleet_model::manifest::{ChunkHash, Md5Sum};

    use super::*;

    fn entry(offset: u64) -> ChunkEntry {
        let run = Run { offset, length: 512, at: 0, crc64: 1, md5: Md5Sum::of(&[1]) };
        ChunkEntry { hash: ChunkHash::of(&[1]), length: 512, runs: vec![run] }
    }

    #[test]
    fn a_request_whose_end_is_not_seen_may_still_land() {
        let error = |kind| Err(PortError::new(kind, "it failed"));
        let source = || Err(PortError::new(ErrorKind::Unavailable, "busy").with_code("source-unavailable"));
        for (ended, settled) in [
            (Some(Ok(())), true),
            (Some(error(ErrorKind::Corrupt)), true),
            (Some(error(ErrorKind::Throttled)), true),
            (Some(source()), true),
            (Some(error(ErrorKind::Unavailable)), false),
            (None, false),
        ] {
            let unanswered = Unanswered::default();
            let request = unanswered.begin(&entry(0));
            assert!(!unanswered.has(&entry(0)), "it is under way");
            match &ended {
                Some(put) => request.ended(put),
                None => drop(request),
            }
            assert_eq!(!unanswered.has(&entry(0)), settled, "{ended:?}");
            assert!(!unanswered.has(&entry(4 << 20)), "another chunk");
            unanswered.forget();
            assert!(!unanswered.has(&entry(0)));
        }
    }
}
