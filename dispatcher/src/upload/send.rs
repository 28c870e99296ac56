//! Sending the chunks that the store lacks.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use goldfleet_shared::chunk_store;
use goldfleet_shared::governor::Governor;
use goldfleet_shared::model::manifest::{ChunkEntry, ChunkHash, chunk_name};
use goldfleet_shared::model::store::Container;
use goldfleet_shared::ports::blob_store::BlobListed;
use goldfleet_shared::ports::error::{ErrorKind, PortError};
use goldfleet_shared::retry::retrying;
use goldfleet_shared::vhd::Disk;
use tokio_util::sync::CancellationToken;

use super::UploadError;
use super::buffers::{Buffer, Buffers};
use super::pace::{Pace, Rate};
use super::record::Record;
use super::scan;
use crate::desk::Desk;

/// Reads the whole disk and, with `send`, puts the chunks that the store lacks into it, no faster than `limit`. Returns the disk and its chunks
/// in order.
pub(super) async fn chunks(
    desk: &Desk,
    disk: Disk,
    send: bool,
    limit: Option<Rate>,
    record: &Record<'_>,
    stop: &CancellationToken,
) -> Result<(Arc<Disk>, Vec<ChunkEntry>), UploadError> {
    let container = desk.config.source.store().container();
    let blobs = desk.ports.blobs.as_ref();
    let present = if send { chunk_store::present(blobs, &container).await? } else { HashMap::new() };
    let governor = Governor::new(desk.config.upload.requests, Arc::clone(&desk.ports.clock));
    let sender = Sender { desk, container, present, send, record, governor, pace: Pace::new(limit) };
    let disk = Arc::new(disk);
    tokio::select! {
        chunks = sender.run(Arc::clone(&disk)) => Ok((disk, chunks?)),
        () = record.beat(desk) => Err(UploadError::Interrupted),
        () = stop.cancelled() => Err(UploadError::Interrupted),
    }
}

struct Sender<'a> {
    desk: &'a Desk,
    container: Container,
    present: HashMap<String, BlobListed>,
    send: bool,
    record: &'a Record<'a>,
    governor: Governor,
    pace: Pace,
}

impl Sender<'_> {
    async fn run(&self, disk: Arc<Disk>) -> Result<Vec<ChunkEntry>, UploadError> {
        let requests = self.desk.config.upload.requests.max(1);
        let threads = std::thread::available_parallelism().map_or(2, |n| n.get().min(4));
        // One for each request, one in each reader's hands, one read ahead.
        let mut scan = scan::begin(disk, threads, &Buffers::new(requests + threads + 1))?;
        self.record.count(|row| row.bytes_total = scan.bytes);
        let mut entries: Vec<Option<ChunkEntry>> = vec![None; scan.windows];
        let mut seen: HashSet<ChunkHash> = HashSet::new();
        let mut sending = FuturesUnordered::new();
        loop {
            tokio::select! {
                Some(sent) = sending.next(), if !sending.is_empty() => { let () = sent?; }
                scanned = scan.scanned.recv(), if sending.len() < requests => {
                    let Some(scanned) = scanned else { break };
                    let scanned = scanned?;
                    self.record.count(|row| row.bytes_read += scanned.read);
                    let Some((entry, buffer)) = scanned.chunk else { continue };
                    self.record.count(|row| row.bytes_data += u64::from(entry.length));
                    if self.send && seen.insert(entry.hash) {
                        sending.push(self.put(entry.clone(), buffer));
                    } else if self.send {
                        self.reused(&entry);
                    }
                    if let Some(slot) = entries.get_mut(scanned.index) {
                        *slot = Some(entry);
                    }
                }
            }
        }
        while let Some(sent) = sending.next().await {
            sent?;
        }
        Ok(entries.into_iter().flatten().collect())
    }

    /// From which age on a chunk that is relied on is renewed.
    fn renew_after(&self) -> Duration {
        self.desk.config.cleanup.chunk_grace.get() / 2
    }

    fn reused(&self, entry: &ChunkEntry) {
        self.record.count(|row| row.bytes_reused += u64::from(entry.length));
    }

    /// Sees to it that the store has a chunk, and keeps it.
    async fn put(&self, entry: ChunkEntry, buffer: Buffer) -> Result<(), UploadError> {
        let name = chunk_name(&entry.hash);
        if let Some(listed) = self.present.get(&name)
            && chunk_store::rely_on(&self.desk.ports, &self.container, listed, self.renew_after()).await?
        {
            self.reused(&entry);
            return Ok(());
        }
        let blob = self.container.blob(name);
        let bytes = Bytes::from_owner(buffer);
        let crc = entry.crc64();
        let clock = self.desk.ports.clock.as_ref();
        let put = retrying(clock, PortError::is_retryable, async || {
            let permit = self.governor.admit(&self.container.account).await;
            self.pace.wait_for(clock, bytes.len() as u64).await;
            let put = self.desk.ports.blobs.put_blob(&blob, bytes.clone(), crc).await;
            permit.ended(&put);
            put
        });
        match put.await {
            Ok(()) => self.record.count(|row| row.bytes_sent += u64::from(entry.length)),
            // Its name is the hash of its bytes, so whoever wrote it wrote the same.
            Err(error) if error.kind == ErrorKind::AlreadyExists => self.reused(&entry),
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}
