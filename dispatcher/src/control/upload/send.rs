//! Sends the chunks that the store lacks.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::stream::FuturesUnordered;
use futures::{StreamExt as _, TryStreamExt as _};
use goldfleet_disk::chunk::PackedChunk;
use goldfleet_kinds::writers::{Writer, list_writers, remove_record_of};
use goldfleet_model::manifest::{ChunkEntry, ChunkHash, chunk_name};
use goldfleet_model::store::Container;
use goldfleet_ports::blob_store::{Checksums, ListedBlob};
use goldfleet_ports::chunk_store;
use goldfleet_ports::error::{ErrorKind, PortError, PortResult};
use goldfleet_ports::retry::retry_transient;
use goldfleet_runtime::limiter::ConcurrencyLimiter;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::buffers::Buffers;
use super::md5::Md5s;
use super::rate_limit::{ByteRate, RateLimiter};
use super::record::UploadRecord;
use super::scan::{ScanPlan, ScannedDisk};
use super::{UploadError, scan};
use crate::control::context::ControlContext;

/// The chunks of a disk that the store must have at the end.
#[derive(Debug, Clone, Copy)]
pub(super) enum ChunkSelection<'a> {
    /// All of them. They are kept from garbage collection until a manifest names them.
    All,
    /// Those that an existing manifest names, which keeps them. Others may belong to other content and are not sent.
    Listed(&'a HashSet<ChunkHash>),
}

/// The result of a pass over the disk.
pub(super) struct SendResult {
    /// The chunks of the disk in order.
    pub(super) chunks: Vec<ChunkEntry>,
    /// The number of chunks that the store lacked and that were sent.
    pub(super) put: usize,
}

/// Reads what is not known of the disk, and sends the selected chunks that the store lacks, at the rate of `limit` at
/// most.
pub(super) async fn chunks(
    control: &ControlContext,
    (disk, plan): (&ScannedDisk, ScanPlan),
    wanted: ChunkSelection<'_>,
    limit: Option<ByteRate>,
    record: &UploadRecord<'_>,
    md5s: &Md5s,
    stop: &CancellationToken,
) -> Result<SendResult, UploadError> {
    let container = control.config.source.store().container();
    let listed_at = control.ports.clock.now();
    let present = chunk_store::list_chunks(control.ports.blobs.as_ref(), &container).await?;
    let mut others = list_writers(&control.ports, &container).await?;
    others.retain(|writer| writer.id != record.id());
    let limiter = ConcurrencyLimiter::new(control.config.upload.requests, Arc::clone(&control.ports.clock));
    let put = AtomicUsize::new(0);
    let sender = Sender {
        control,
        container,
        listed_at,
        present,
        others,
        wanted,
        record,
        md5s,
        limiter,
        pace: RateLimiter::new(limit),
        put,
    };
    tokio::select! {
        biased;
        chunks = sender.run(disk, plan) => Ok(SendResult { chunks: chunks?, put: sender.put.load(Ordering::Relaxed) }),
        () = record.beat() => Err(UploadError::Interrupted),
        () = stop.cancelled() => Err(UploadError::Interrupted),
    }
}

struct Sender<'a> {
    control: &'a ControlContext,
    container: Container,
    /// When the store was listed.
    listed_at: Timestamp,
    present: HashMap<String, ListedBlob>,
    /// The other writers that have a record in the store.
    others: Vec<Writer>,
    wanted: ChunkSelection<'a>,
    record: &'a UploadRecord<'a>,
    md5s: &'a Md5s,
    limiter: ConcurrencyLimiter,
    pace: RateLimiter,
    put: AtomicUsize,
}

impl Sender<'_> {
    async fn run(&self, disk: &ScannedDisk, mut plan: ScanPlan) -> Result<Vec<ChunkEntry>, UploadError> {
        let requests = self.control.config.upload.requests.max(1);
        // One for each request, one for each reader, and one that is read ahead.
        let buffers = Buffers::new(requests + disk.readers + 1);
        let mut entries: Vec<Option<ChunkEntry>> = vec![None; plan.windows()];
        let mut seen = self.keep(&mut plan, &mut entries).await?;
        let mut scanned = scan::start(disk, &plan, self.control.readers, &buffers);
        let mut sending = FuturesUnordered::new();
        loop {
            tokio::select! {
                biased;
                Some(taken) = sending.next(), if !sending.is_empty() => place(&mut entries, taken?),
                scanned = scanned.recv(), if sending.len() < requests => {
                    let Some(scanned) = scanned else { break };
                    let scanned = scanned?;
                    self.record.count(|row| row.bytes_read += scanned.read);
                    let Some((chunk, buffer)) = scanned.chunk else { continue };
                    self.record.count(|row| row.bytes_data += u64::from(chunk.length));
                    let is_wanted = self.is_selected(&chunk.hash);
                    let is_first = is_wanted && seen.insert(chunk.hash);
                    if is_wanted && !is_first {
                        self.count_reused(chunk.length);
                    }
                    sending.push(self.take(scanned.index, chunk, Bytes::from_owner(buffer), is_first));
                }
            }
        }
        while let Some(taken) = sending.next().await {
            place(&mut entries, taken?);
        }
        let chunks: Vec<ChunkEntry> = entries.into_iter().flatten().collect();
        self.remove_records(&chunks).await;
        Ok(chunks)
    }

    /// Takes over the known chunks that the store has, and plans to read the windows of all others. Returns the hashes
    /// of the selected chunks that the store has.
    async fn keep(
        &self,
        plan: &mut ScanPlan,
        entries: &mut [Option<ChunkEntry>],
    ) -> Result<HashSet<ChunkHash>, UploadError> {
        let known = std::mem::take(&mut plan.known);
        let selected = known.iter().map(|(_, entry)| entry).filter(|entry| self.is_selected(&entry.hash));
        let distinct: HashMap<ChunkHash, ChunkEntry> = selected.map(|entry| (entry.hash, entry.clone())).collect();
        let checks = futures::stream::iter(distinct.into_values()).map(|entry| self.kept(entry));
        let requests = self.control.config.upload.requests.max(1);
        let checks: Vec<Option<ChunkHash>> = checks.buffer_unordered(requests).try_collect().await?;
        let present: HashSet<ChunkHash> = checks.into_iter().flatten().collect();
        for (index, entry) in known {
            if self.is_selected(&entry.hash) && !present.contains(&entry.hash) {
                let more = plan.read_too(index);
                self.record.count(|row| row.bytes_total += more);
                continue;
            }
            self.record.count(|row| row.bytes_data += u64::from(entry.length));
            if self.is_selected(&entry.hash) {
                self.count_reused(entry.length);
            }
            place(entries, (index, entry));
        }
        Ok(present)
    }

    /// The hash of a chunk, if the store has it.
    async fn kept(&self, entry: ChunkEntry) -> PortResult<Option<ChunkHash>> {
        let clock = self.control.ports.clock.as_ref();
        let kept = retry_transient(clock, PortError::is_retryable, || self.is_in_store(&entry)).await?;
        Ok(kept.then_some(entry.hash))
    }

    /// The age from which a chunk that is relied on is renewed.
    fn renewal_age(&self) -> Duration {
        self.control.config.cleanup.chunk_grace.get() / 2
    }

    fn is_selected(&self, hash: &ChunkHash) -> bool {
        match self.wanted {
            ChunkSelection::All => true,
            ChunkSelection::Listed(names) => names.contains(hash),
        }
    }

    /// Completes the entry of the chunk at this index of the manifest, and ensures that the store has the chunk if it
    /// is selected.
    async fn take(
        &self,
        index: usize,
        chunk: PackedChunk,
        bytes: Bytes,
        put: bool,
    ) -> Result<(usize, ChunkEntry), UploadError> {
        let entry = self.md5s.entry(chunk, &bytes).await?;
        if put {
            self.put(&entry, bytes).await?;
        }
        Ok((index, entry))
    }

    /// Whether the store has a chunk with the correct bytes. If so, the chunk is kept from garbage collection.
    async fn is_in_store(&self, entry: &ChunkEntry) -> Result<bool, PortError> {
        let Some(listed) = self.present.get(&chunk_name(&entry.hash)) else { return Ok(false) };
        if listed.length != u64::from(entry.length) {
            tracing::warn!(chunk = %entry.hash, length = listed.length, "a chunk in the store has a wrong length: it is written again");
            chunk_store::delete_listed(&self.control.ports, &self.container, listed).await?;
            return Ok(false);
        }
        // Before the chunk is renewed: afterwards its time does not show when it was written.
        let is_unproven = self.may_be_unproven(listed.modified);
        if is_unproven && !self.is_whole(entry).await? {
            return Ok(false);
        }
        let age = match self.wanted {
            // Later uploads need not read it back.
            _ if is_unproven && !self.may_be_unproven(self.control.ports.clock.now()) => Duration::ZERO,
            ChunkSelection::All => self.renewal_age(),
            ChunkSelection::Listed(_) => return Ok(true),
        };
        chunk_store::renew_if_old(&self.control.ports, &self.container, listed, age).await
    }

    /// Whether another writer may have written a chunk and not proven it that the store last changed at this time.
    fn may_be_unproven(&self, modified: Timestamp) -> bool {
        self.others.iter().any(|writer| writer.may_have_left(modified))
    }

    /// Removes the records of writers that had ended when the store was listed, and that left no chunks except those of
    /// this disk, which are proven now.
    async fn remove_records(&self, chunks: &[ChunkEntry]) {
        let own: HashSet<String> =
            chunks.iter().filter(|entry| self.is_selected(&entry.hash)).map(|entry| chunk_name(&entry.hash)).collect();
        let not_read: Vec<Timestamp> =
            self.present.values().filter(|listed| !own.contains(&listed.name)).map(|listed| listed.modified).collect();
        for writer in self.others.iter().filter(|writer| writer.has_proven_all() || writer.has_ended(self.listed_at)) {
            if not_read.iter().any(|modified| writer.may_have_left(*modified)) {
                continue;
            }
            if let Err(error) = remove_record_of(&self.control.ports, &self.container, writer).await {
                tracing::warn!(store = %self.container, %error, "the record of a writer could not be removed");
            }
        }
    }

    /// Reads a chunk back. A chunk with other bytes is deleted.
    async fn is_whole(&self, entry: &ChunkEntry) -> PortResult<bool> {
        let ports = &self.control.ports;
        retry_transient(ports.clock.as_ref(), PortError::is_retryable, async || {
            let permit = self.limiter.acquire_patiently(&self.container.account).await;
            let whole = chunk_store::is_whole(ports, &self.container, entry).await;
            permit.record_result(&whole);
            whole
        })
        .await
    }

    fn count_reused(&self, length: u32) {
        self.record.count(|row| row.bytes_reused += u64::from(length));
    }

    /// Ensures that the store has a chunk, and keeps it from garbage collection.
    async fn put(&self, entry: &ChunkEntry, bytes: Bytes) -> Result<(), UploadError> {
        if self.is_in_store(entry).await? {
            self.count_reused(entry.length);
            return Ok(());
        }
        let clock = self.control.ports.clock.as_ref();
        let checksums = Checksums { crc64: entry.crc64(), md5: entry.md5() };
        let begun = self.record.begin_write();
        let put = retry_transient(clock, PortError::is_retryable, async || {
            let permit = self.limiter.acquire_patiently(&self.container.account).await;
            self.pace.wait_for(clock, bytes.len() as u64).await;
            self.record.keep_recent().await?;
            let blob = self.container.chunk(&entry.hash);
            let put = self.control.ports.blobs.put_blob(&blob, bytes.clone(), checksums).await;
            permit.record_result(&put);
            self.put_or_found(entry, put).await
        });
        let was_put = put.await?;
        self.record.end_write(begun);
        if was_put {
            self.put.fetch_add(1, Ordering::Relaxed);
            self.record.count(|row| row.bytes_sent += u64::from(entry.length));
        } else {
            self.count_reused(entry.length);
        }
        Ok(())
    }

    /// Whether a chunk was written, or exists with the correct length.
    async fn put_or_found(&self, entry: &ChunkEntry, put: PortResult<()>) -> PortResult<bool> {
        match put {
            Ok(()) => Ok(true),
            // Its writer may not have proven it: another upload, or this one if it got no response to an earlier
            // request.
            Err(error) if error.kind == ErrorKind::AlreadyExists => {
                let whole = chunk_store::is_whole(&self.control.ports, &self.container, entry).await?;
                if whole { Ok(false) } else { Err(chunk_store::was_damaged(&self.container, entry)) }
            }
            Err(error) => Err(error),
        }
    }
}

/// Puts an entry at its index of the manifest.
fn place(entries: &mut [Option<ChunkEntry>], (index, entry): (usize, ChunkEntry)) {
    if let Some(slot) = entries.get_mut(index) {
        *slot = Some(entry);
    }
}
