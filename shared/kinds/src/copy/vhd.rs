//! The VHD of a target as the destination of chunks, and the proof that their bytes are in place.
//!
//! Writing a run proves its bytes, or the request fails. Three cases have no such proof and are read back: a chunk over
//! which an earlier unanswered request may still be written, the data that the service cloned from a base version, and
//! the zero ranges of the disk in a cloned VHD.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

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
use crate::transfer::unanswered::Unanswered;

/// A VHD that is being filled.
pub(super) struct VhdDestination<'a> {
    attempt: Attempt<'a>,
    vhd: &'a BlobAddress,
    fence: Mutex<Fence>,
    base: Option<&'a BaseVersion>,
    /// The maximum number of requests in flight.
    requests: usize,
    unanswered: Unanswered,
}

impl<'a> VhdDestination<'a> {
    /// Creates a destination with a fence that was taken on the VHD. `base` is the base version from which the VHD was
    /// cloned.
    pub(super) fn new(attempt: Attempt<'a>, vhd: &'a BlobAddress, fence: Fence, base: Option<&'a BaseVersion>) -> Self {
        let requests = attempt.shared.settings.chunk_requests;
        Self { attempt, vhd, fence: Mutex::new(fence), base, requests, unanswered: Unanswered::default() }
    }

    /// The newest fence that was taken.
    pub(super) fn fence(&self) -> Fence {
        *self.fence.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Must be called before every request, because a chunk may have more runs than the remaining time of the lease
    /// allows. For other stop reasons than a lost lease, a chunk that was started is still completed.
    fn check(&self) -> PortResult<()> {
        match self.attempt.lease.ensure_held() {
            Err(StopReason::Lost) => Err(PortError::new(ErrorKind::Fenced, format!("{}: the lease is lost", self.vhd))),
            _ => Ok(()),
        }
    }

    /// Reads back the chunks that do not change from the base version, and records those that the service cloned
    /// correctly. The others are transferred like all other chunks.
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

    /// Reads back each run of a chunk and returns whether all checksums are correct.
    async fn is_in_place(&self, entry: &ChunkEntry) -> PortResult<bool> {
        for run in &entry.runs {
            let permit = self.attempt.shared.limiter.acquire(self.account()).await?;
            self.check()?;
            let holds = self.attempt.blobs().holds(&at(self.vhd, run.range(), run)).await;
            permit.record_result(&holds);
            if !holds? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Clears data in the zero ranges of a cloned disk. The data of the base version were cleared earlier. Remaining
    /// data were damaged in the clone or not cleared.
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

/// The number of bytes that are read at once in zero ranges.
#[expect(clippy::cast_possible_truncation, reason = "4 MiB fit 32 bits")]
const PIECE: usize = MAX_PAGE_WRITE as usize;

/// The bytes of a run in this range of a blob, with the checksums of the run.
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

    /// After a new fence the service rejects all earlier requests.
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
                tracing::warn!(vhd = %self.vhd, chunk = %entry.hash, "a delayed request damaged a chunk: the chunk is written again");
            }
        }
        Ok(in_place)
    }
}
