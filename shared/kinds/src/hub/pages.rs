//! The disk that is filled as the destination of chunks, and the proof that their bytes are in place.

use std::ops::Range;
use std::sync::atomic::{AtomicU8, Ordering};

use bytes::Bytes;
use goldfleet_model::checksum::crc64;
use goldfleet_model::hash::{Md5Sum, digest_of};
use goldfleet_model::ids::AccountName;
use goldfleet_model::manifest::{ChunkEntry, Manifest, Run};
use goldfleet_model::resource::ResourceId;
use goldfleet_model::store::BlobAddress;
use goldfleet_ports::blob_store::Checksums;
use goldfleet_ports::disk_content::{ACCESS_ENDED, ContentLayout};
use goldfleet_ports::disk_pages::{PageAnswer, PageSource};
use goldfleet_ports::error::{ErrorKind, PortError, PortResult, SourceFault};
use goldfleet_ports::retry::retry_within;
use goldfleet_ports::timeout::MAX_WAIT_IN_PLACE;

use crate::access::SasAccess;
use crate::attempt_error::AttemptError;
use crate::context::Attempt;
use crate::lease::StopReason;
use crate::outcome::StepError;
use crate::transfer::Destination;
use crate::transfer::unanswered::Unanswered;

/// The method by which a run reaches the disk. The first method that the service supports is used. Not every service
/// documents which methods it supports for the content of a disk: see `doctor --probe`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// The service reads it from the store, and checks it.
    CheckedSource,
    /// The service reads it from the store.
    Source,
    /// It passes through the worker.
    Through,
}

impl Way {
    const ALL: [Self; 3] = [Self::CheckedSource, Self::Source, Self::Through];
}

/// Sends a request with a SAS. If the SAS gives no access any more, it is replaced, and the request is sent again.
macro_rules! with_access {
    ($self:ident, |$sas:ident| $request:expr) => {{
        let first = $self.access.sas().await?;
        let $sas = &first;
        match $request.await {
            Err(error) if error.code == ACCESS_ENDED => {
                let second = $self.access.replace(&first).await?;
                let $sas = &second;
                $request.await.map_err(retry_later)
            }
            result => result,
        }
    }};
}

/// The next attempt finds out whether the disk still awaits bytes.
fn retry_later(error: PortError) -> PortError {
    match error.code.as_str() {
        ACCESS_ENDED => PortError { kind: ErrorKind::Unavailable, ..error },
        _ => error,
    }
}

/// A disk that is being filled.
pub(super) struct DiskPagesDestination<'a> {
    attempt: Attempt<'a>,
    id: &'a ResourceId,
    access: &'a SasAccess<'a>,
    /// Represents the disk, whose page blob is in an account of the platform.
    account: AccountName,
    /// The maximum number of requests in flight.
    requests: usize,
    unanswered: Unanswered,
    /// The index of the current way.
    way: AtomicU8,
}

impl<'a> DiskPagesDestination<'a> {
    pub(super) fn new(
        attempt: Attempt<'a>,
        id: &'a ResourceId,
        unique_id: &str,
        access: &'a SasAccess<'a>,
    ) -> Result<Self, AttemptError> {
        let digits: String = digest_of(unique_id.as_bytes()).to_string().chars().rev().take(20).collect();
        let account = format!("md{digits}").parse();
        let account = account.map_err(|error| AttemptError::fatal("row-damaged", format!("{id}: {error}")))?;
        let requests = attempt.shared.settings.chunk_requests;
        let way = AtomicU8::new(0);
        Ok(Self { attempt, id, access, account, requests, unanswered: Unanswered::default(), way })
    }

    /// Where the disk has data.
    pub(super) async fn data_ranges(&self) -> PortResult<Vec<Range<u64>>> {
        let clock = self.attempt.shared.ports.clock.as_ref();
        Ok(retry_within(clock, MAX_WAIT_IN_PLACE, PortError::is_retryable, || self.layout()).await?.data)
    }

    async fn layout(&self) -> PortResult<ContentLayout> {
        let access = &self.attempt.shared.ports.disk_access;
        with_access!(self, |sas| access.layout(sas))
    }

    /// Writes the footer of the VHD, and proves it. It is the last write.
    pub(super) async fn write_footer(&self, manifest: &Manifest) -> Result<(), StepError> {
        let footer = Bytes::copy_from_slice(&manifest.footer);
        let expected = Checksums { crc64: crc64(&footer), md5: Some(Md5Sum::of(&footer)) };
        let clock = self.attempt.shared.ports.clock.as_ref();
        let write = || self.write_proven(manifest.size, footer.clone(), expected);
        if retry_within(clock, MAX_WAIT_IN_PLACE, PortError::is_retryable, write).await? {
            return Ok(());
        }
        let message = format!("{}: the footer of the VHD was written with other bytes", self.id);
        Err(PortError::new(ErrorKind::Corrupt, message).with_code("disk-corrupt").into())
    }

    async fn write_proven(&self, offset: u64, bytes: Bytes, expected: Checksums) -> PortResult<bool> {
        self.check()?;
        let range = offset..offset + bytes.len() as u64;
        let answer = self.write(offset, bytes, expected).await?;
        self.prove(&answer, range, expected).await
    }

    /// Must be called before every request: see `VhdDestination::check`.
    fn check(&self) -> PortResult<()> {
        match self.attempt.lease.ensure_held() {
            Err(StopReason::Lost) => Err(PortError::new(ErrorKind::Fenced, format!("{}: the lease is lost", self.id))),
            _ => Ok(()),
        }
    }

    /// Writes bytes with their checksum, or without it if the service does not support it.
    async fn write(&self, offset: u64, bytes: Bytes, expected: Checksums) -> PortResult<PageAnswer> {
        let pages = &self.attempt.shared.ports.disk_pages;
        match with_access!(self, |sas| pages.write(sas, offset, bytes.clone(), Some(expected.crc64))) {
            Err(error) if error.kind == ErrorKind::Invalid => {}
            result => return result,
        }
        with_access!(self, |sas| pages.write(sas, offset, bytes.clone(), None))
    }

    /// Whether a range has its bytes, according to the response to its write or a read.
    async fn prove(&self, answer: &PageAnswer, range: Range<u64>, expected: Checksums) -> PortResult<bool> {
        match answer.proves(&expected) {
            Some(proof) => Ok(proof),
            None => self.holds(range, expected).await,
        }
    }

    async fn holds(&self, range: Range<u64>, expected: Checksums) -> PortResult<bool> {
        let pages = &self.attempt.shared.ports.disk_pages;
        with_access!(self, |sas| pages.holds(sas, range.clone(), expected))
    }

    /// Whether all runs of a chunk are in place.
    async fn is_in_place(&self, entry: &ChunkEntry) -> PortResult<bool> {
        for run in &entry.runs {
            let permit = self.attempt.shared.limiter.acquire(&self.account).await?;
            self.check()?;
            let holds = self.holds(run.range(), checksums(run)).await;
            permit.record_result(&holds);
            if !holds? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn put_run(&self, run: &Run, source: &BlobAddress) -> PortResult<()> {
        let answer = loop {
            let index = self.way.load(Ordering::Relaxed);
            let Some(way) = Way::ALL.get(usize::from(index)) else {
                return Err(PortError::new(ErrorKind::Invalid, format!("{}: it accepts no page writes", self.id)));
            };
            match self.put_by(*way, run, source).await {
                Err(error) if *way != Way::Through && is_unsupported(&error) => {
                    tracing::info!(disk = %self.id, ?way, code = error.code, "the service does not support this method of writing: {error}");
                    // Another request may have changed it already.
                    let _ = self.way.compare_exchange(index, index + 1, Ordering::Relaxed, Ordering::Relaxed);
                }
                answer => break answer?,
            }
        };
        if self.prove(&answer, run.range(), checksums(run)).await? {
            return Ok(());
        }
        let message =
            format!("{}: {} bytes at {} arrived from {source} with a wrong checksum", self.id, run.length, run.offset);
        Err(PortError::new(ErrorKind::Corrupt, message).with_source_fault(SourceFault::Corrupt))
    }

    async fn put_by(&self, way: Way, run: &Run, source: &BlobAddress) -> PortResult<PageAnswer> {
        let ports = &self.attempt.shared.ports;
        let (start, length) = (u64::from(run.at), u64::from(run.length));
        let range = start..start + length;
        let expected = match way {
            Way::CheckedSource => Some(checksums(run)),
            Way::Source => None,
            Way::Through => {
                let bytes = ports.blobs.get(source, Some(range)).await.map_err(unreadable)?;
                return self.write(run.offset, bytes, checksums(run)).await;
            }
        };
        let from = PageSource::Blob(source.clone());
        with_access!(self, |sas| ports.disk_pages.write_from(sas, run.offset, &from, range.clone(), expected))
    }
}

fn checksums(run: &Run) -> Checksums {
    Checksums { crc64: run.crc64, md5: Some(run.md5) }
}

/// Whether a service refuses a method of writing, and not only one request. Azure's codes for the content of a disk are
/// not documented.
fn is_unsupported(error: &PortError) -> bool {
    error.source_fault().is_none() && (error.kind == ErrorKind::Invalid || error.code == "invalid-blob-type")
}

/// The error of a chunk that the worker could not read. Another store may have it.
fn unreadable(error: PortError) -> PortError {
    match error.kind {
        ErrorKind::NotFound => error.with_source_fault(SourceFault::Missing),
        ErrorKind::Denied => error.with_source_fault(SourceFault::Denied),
        ErrorKind::Invalid => error.with_source_fault(SourceFault::Corrupt),
        _ => error.with_source_fault(SourceFault::Unavailable),
    }
}

impl Destination for DiskPagesDestination<'_> {
    fn account(&self) -> &AccountName {
        &self.account
    }

    fn requests(&self) -> usize {
        self.requests
    }

    async fn put(&self, entry: &ChunkEntry, source: &BlobAddress) -> PortResult<u64> {
        let mut moved = 0;
        for run in &entry.runs {
            self.check()?;
            let request = self.unanswered.begin(entry);
            let put = self.put_run(run, source).await;
            request.ended(&put);
            put?;
            moved += u64::from(run.length);
        }
        Ok(moved)
    }

    fn is_settled(&self, entry: &ChunkEntry) -> bool {
        !self.unanswered.has(entry)
    }

    /// No request can be fenced off. One that is written late writes the bytes of the same chunk, so the chunk is read
    /// back only to find bytes that were damaged on the way.
    async fn settle(&self, chunks: &[(u32, &ChunkEntry)]) -> PortResult<Vec<u32>> {
        self.check()?;
        self.unanswered.forget();
        let mut in_place = Vec::with_capacity(chunks.len());
        for (chunk, entry) in chunks {
            if self.is_in_place(entry).await? {
                in_place.push(*chunk);
            } else {
                tracing::warn!(disk = %self.id, chunk = %entry.hash, "a delayed request damaged a chunk: the chunk is written again");
            }
        }
        Ok(in_place)
    }
}
