//! Fills a disk with the content of a snapshot.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use goldfleet_disk::Footer;
use goldfleet_model::checksum::crc64;
use goldfleet_model::chunk_set::ChunkSet;
use goldfleet_model::hash::digest_of;
use goldfleet_model::ids::AccountName;
use goldfleet_model::ranges::{merged, parts};
use goldfleet_model::resource::ResourceId;
use goldfleet_ports::blob_store::MAX_PAGE_WRITE;
use goldfleet_ports::disk_access::{Access, DiskSas};
use goldfleet_ports::disk_content::ACCESS_ENDED;
use goldfleet_ports::disk_pages::PageSource;
use goldfleet_ports::error::{ErrorKind, PortError, PortResult, SourceFault};
use goldfleet_ports::retry::retry_within;
use goldfleet_ports::timeout::MAX_WAIT_IN_PLACE;
use goldfleet_snapshots::graph::ExportSpec;
use uuid::Uuid;

use crate::access::SasAccess;
use crate::change::{self, later, must_wait};
use crate::context::{Attempt, write_spec};
use crate::hub::FilledDisk;
use crate::lease::StopReason;
use crate::outcome::{StepError, StepOutcome};

/// How often a write is sent again because a SAS gave no access any more.
const RENEWALS: usize = 3;

/// The size of a part of the disk, whose progress is recorded as one: a multiple of the largest write, so that a disk
/// has at most [`ChunkSet::MAX_LEN`] parts.
fn part_size(size: u64) -> u64 {
    size.div_ceil(u64::from(ChunkSet::MAX_LEN)).max(1).next_multiple_of(MAX_PAGE_WRITE)
}

/// Writes what the disk lacks, and records that it is complete. The inner error is the outcome of a step that must
/// wait.
pub(super) async fn fill(
    attempt: Attempt<'_>,
    (source, spec): (&ResourceId, &ExportSpec),
    (disk, unique_id): (&ResourceId, String),
) -> Result<Result<FilledDisk, StepOutcome>, StepError> {
    let written = match Transfer::begin(attempt, source, spec, disk, &unique_id).await {
        Ok(transfer) => transfer.run(&unique_id).await,
        // Five SAS of the family are in use, for example. Only the service determines how long that takes.
        Err(error) if must_wait(&error) => return Ok(Err(later(attempt, &error))),
        Err(error) => Err(error.into()),
    };
    // The source is not ours: nobody must keep access to it, whatever happened. A SAS that is left expires within an
    // hour.
    if let Err(error) = change::end_access(attempt, source).await {
        tracing::warn!(%source, ?error, "the access to the source could not be ended: it ends by itself within an hour");
    }
    written?;
    let filled = FilledDisk { id: disk.clone(), unique_id };
    attempt.lease.ensure_held()?;
    attempt.lease.put_output(write_spec(&filled)).await?;
    change::end_access(attempt, disk).await?;
    Ok(Ok(filled))
}

struct Transfer<'a> {
    attempt: Attempt<'a>,
    disk: &'a ResourceId,
    size: u64,
    from: SasAccess<'a>,
    to: SasAccess<'a>,
    /// Stands for the disk, whose page blob is in an account of the platform.
    account: AccountName,
    /// The ranges of the source with data.
    data: Vec<Range<u64>>,
    /// Whether the bytes pass through the worker, because the service does not write from a SAS.
    through: AtomicBool,
}

impl<'a> Transfer<'a> {
    async fn begin(
        attempt: Attempt<'a>,
        source: &'a ResourceId,
        spec: &ExportSpec,
        disk: &'a ResourceId,
        unique_id: &str,
    ) -> PortResult<Self> {
        let digits: String = digest_of(unique_id.as_bytes()).to_string().chars().rev().take(20).collect();
        let invalid = |error| PortError::new(ErrorKind::Invalid, format!("{disk}: {error}"));
        let account = format!("md{digits}").parse().map_err(invalid)?;
        let to = SasAccess::begin(attempt, disk, Access::Write).await?;
        let from = SasAccess::begin(attempt, source, Access::Read).await?;
        let (mut sas, access) = (from.sas().await?, &attempt.shared.ports.disk_access);
        let clock = attempt.shared.ports.clock.as_ref();
        let mut layout = retry_within(clock, MAX_WAIT_IN_PLACE, PortError::is_retryable, || access.layout(&sas)).await;
        if layout.as_ref().is_err_and(|error| error.code == ACCESS_ENDED) {
            sas = from.replace(&sas).await?;
            layout = access.layout(&sas).await;
        }
        let data = merged(layout.map_err(retry_later)?.data, spec.size);
        let through = AtomicBool::new(false);
        Ok(Self { attempt, disk, size: spec.size, from, to, account, data, through })
    }

    /// Writes all parts that the row does not record, and then the footer of the VHD.
    async fn run(&self, unique_id: &str) -> Result<(), StepError> {
        let part = part_size(self.size);
        let count = u32::try_from(self.size.div_ceil(part)).unwrap_or(ChunkSet::MAX_LEN);
        // Progress belongs to one disk. Another one of the same name has another unique id.
        let incarnation = unique_id.parse().ok();
        let recorded = &self.attempt.operation.progress;
        let is_same = incarnation.is_some() && recorded.incarnation == incarnation && recorded.done.len() == count;
        let done = if is_same { recorded.done.clone() } else { ChunkSet::empty(count) };
        let bytes_of = |n: u32| -> u64 { self.ranges_in(n, part).iter().map(|range| range.end - range.start).sum() };
        let bytes = (0..count).filter(|n| done.contains(*n)).map(bytes_of).sum();
        let total = self.data.iter().map(|range| range.end - range.start).sum();
        self.attempt.lease.set_progress(incarnation, done.clone(), bytes, total);
        let missing = (0..count).filter(|n| !done.contains(*n));
        let writes = stream::iter(missing).map(|n| self.write_part(n, part));
        writes.buffer_unordered(self.attempt.shared.settings.chunk_requests.max(1)).try_collect::<()>().await?;
        // A disk always gets the same footer, so two workers write the same bytes.
        let id = incarnation.map_or(0, |id: Uuid| id.as_u128());
        let footer = Footer::fixed_for(self.size, id).to_bytes();
        let write = Write::Bytes(self.size, Bytes::copy_from_slice(&footer));
        let clock = self.attempt.shared.ports.clock.as_ref();
        Ok(retry_within(clock, MAX_WAIT_IN_PLACE, PortError::is_retryable, || self.put(&write)).await?)
    }

    /// The ranges with data in a part, each at most as long as one write.
    fn ranges_in(&self, number: u32, part: u64) -> Vec<Range<u64>> {
        let window = u64::from(number) * part..self.size.min((u64::from(number) + 1) * part);
        parts(&self.data, window, MAX_PAGE_WRITE).collect()
    }

    async fn write_part(&self, number: u32, part: u64) -> Result<(), StepError> {
        self.attempt.lease.ensure_held()?;
        let mut bytes = 0;
        for range in self.ranges_in(number, part) {
            bytes += range.end - range.start;
            self.copy(&range).await?;
        }
        self.attempt.lease.record_chunk(number, bytes);
        Ok(())
    }

    /// Writes a range of the source to the disk.
    async fn copy(&self, range: &Range<u64>) -> Result<(), StepError> {
        let clock = self.attempt.shared.ports.clock.as_ref();
        loop {
            let through = self.through.load(Ordering::Relaxed);
            let write = if through { Write::Through(range.clone()) } else { Write::FromSource(range.clone()) };
            match retry_within(clock, MAX_WAIT_IN_PLACE, PortError::is_retryable, || self.put(&write)).await {
                // The service may not support such a source.
                Err(error) if !through && error.kind == ErrorKind::Invalid && error.source_fault().is_none() => {
                    tracing::info!(disk = %self.disk, code = error.code, "the service does not write from a SAS: {error}");
                    self.through.store(true, Ordering::Relaxed);
                }
                written => {
                    written?;
                    self.attempt.lease.add_bytes_moved(range.end - range.start);
                    return Ok(());
                }
            }
        }
    }

    /// Sends a write with both SAS. If one gives no access any more, both are replaced: the response does not say
    /// which.
    async fn put(&self, write: &Write) -> PortResult<()> {
        let permit = self.attempt.shared.limiter.acquire(&self.account).await?;
        let (mut from, mut to) = (self.from.sas().await?, self.to.sas().await?);
        let mut renewals = 0;
        let ended = loop {
            // Another worker may have the lease. A stop only keeps the next part from being begun.
            if self.attempt.lease.ensure_held() == Err(StopReason::Lost) {
                return Err(PortError::new(ErrorKind::Fenced, format!("{}: the lease is lost", self.disk)));
            }
            match self.put_with(write, &from, &to).await {
                Err(error) if has_no_access(&error) && renewals < RENEWALS => {
                    renewals += 1;
                    (from, to) = (self.from.replace(&from).await?, self.to.replace(&to).await?);
                }
                ended => break ended,
            }
        };
        permit.record_result(&ended);
        ended.map_err(retry_later)
    }

    async fn put_with(&self, write: &Write, from: &DiskSas, to: &DiskSas) -> PortResult<()> {
        let (access, pages) = (&self.attempt.shared.ports.disk_access, &self.attempt.shared.ports.disk_pages);
        match write {
            Write::FromSource(range) => {
                let source = PageSource::Disk(from.clone());
                pages.write_from(to, range.start, &source, range.clone(), None).await.map(drop)
            }
            Write::Through(range) => {
                let bytes = access.read(from, range.clone()).await?;
                self.put_bytes(range.start, bytes, to).await
            }
            Write::Bytes(offset, bytes) => self.put_bytes(*offset, bytes.clone(), to).await,
        }
    }

    /// Writes bytes, with their checksum if the service supports it.
    async fn put_bytes(&self, offset: u64, bytes: Bytes, to: &DiskSas) -> PortResult<()> {
        let (pages, sum) = (&self.attempt.shared.ports.disk_pages, crc64(&bytes));
        match pages.write(to, offset, bytes.clone(), Some(sum)).await {
            Err(error) if error.kind == ErrorKind::Invalid => pages.write(to, offset, bytes, None).await.map(drop),
            written => written.map(drop),
        }
    }
}

/// A write to the disk.
enum Write {
    /// The service reads this range of the source, and writes it to the same place.
    FromSource(Range<u64>),
    /// This range of the source passes through the worker.
    Through(Range<u64>),
    /// These bytes, at this offset.
    Bytes(u64, Bytes),
}

fn has_no_access(error: &PortError) -> bool {
    error.code == ACCESS_ENDED || error.source_fault() == Some(SourceFault::Denied)
}

/// The next attempt finds out whether the disk still awaits bytes, and whether the source may be read.
fn retry_later(error: PortError) -> PortError {
    match error.code.as_str() {
        ACCESS_ENDED => PortError { kind: ErrorKind::Unavailable, ..error },
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_whole_writes_and_few() {
        const MIB: u64 = 1 << 20;
        assert_eq!(part_size(20 * MIB), 4 * MIB);
        assert_eq!(part_size(4 << 40), 4 * MIB);
        let largest = 32 << 40;
        assert_eq!(part_size(largest), 32 * MIB);
        assert!(largest / part_size(largest) <= u64::from(ChunkSet::MAX_LEN));
    }
}
