//! Readers: they turn windows of the disk into chunks.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use goldfleet_disk::chunk::{PackedChunk, pack, read_window, windows};
use goldfleet_disk::{AzureDisk, DiskError, DiskReader as _};
use tokio::sync::mpsc;

use super::buffers::{Buffer, Buffers};
use crate::control::context::ScanThreads;

/// The disk of an upload, and how many threads read it at the same time.
#[derive(Clone)]
pub(super) struct ScannedDisk {
    pub(super) disk: Arc<AzureDisk>,
    pub(super) readers: usize,
}

/// A window that was read.
pub(super) struct ScannedWindow {
    /// Its index among the windows.
    pub(super) index: usize,
    /// The number of bytes read from the file.
    pub(super) read: u64,
    /// The chunk and its bytes. None if the window is all zero.
    pub(super) chunk: Option<(PackedChunk, Buffer)>,
}

/// A scan in progress.
pub(super) struct Scan {
    /// The number of windows to read.
    pub(super) windows: usize,
    /// The windows that were read, in any order.
    pub(super) scanned: mpsc::Receiver<Result<ScannedWindow, DiskError>>,
}

/// The number of bytes of a disk to read.
pub(super) fn bytes_of(source: &ScannedDisk) -> Result<u64, DiskError> {
    source.disk.data_ranges().try_fold(0, |sum, range| range.map(|range| sum + (range.end - range.start)))
}

/// Starts to read a disk. The readers end when all windows are read, or when the receiver is dropped.
pub(super) fn start(source: &ScannedDisk, threads: ScanThreads, buffers: &Buffers) -> Result<Scan, DiskError> {
    let disk = &source.disk;
    let ranges: Arc<[Range<u64>]> = disk.data_ranges().collect::<Result<Vec<_>, _>>()?.into();
    let all: Arc<[Range<u64>]> = windows(&ranges, disk.size()).collect::<Vec<_>>().into();
    let next = Arc::new(AtomicUsize::new(0));
    let (sender, scanned) = mpsc::channel(1);
    for _ in 0..source.readers {
        let reader = ScanThread {
            disk: Arc::clone(disk),
            ranges: Arc::clone(&ranges),
            windows: Arc::clone(&all),
            next: Arc::clone(&next),
            buffers: buffers.clone(),
        };
        let sender = sender.clone();
        match threads {
            ScanThreads::Threads => drop(tokio::task::spawn_blocking(move || reader.run(&sender))),
            ScanThreads::Sender => drop(tokio::spawn(async move { reader.run_on_sender(&sender).await })),
        }
    }
    Ok(Scan { windows: all.len(), scanned })
}

struct ScanThread {
    disk: Arc<AzureDisk>,
    ranges: Arc<[Range<u64>]>,
    windows: Arc<[Range<u64>]>,
    next: Arc<AtomicUsize>,
    buffers: Buffers,
}

impl ScanThread {
    fn run(&self, sender: &mpsc::Sender<Result<ScannedWindow, DiskError>>) {
        while let Some(scanned) = self.next() {
            let failed = scanned.is_err();
            if sender.blocking_send(scanned).is_err() || failed {
                return;
            }
        }
    }

    /// Scans on the thread that sends. It never blocks, because there is a buffer for each chunk in flight.
    async fn run_on_sender(&self, sender: &mpsc::Sender<Result<ScannedWindow, DiskError>>) {
        while let Some(scanned) = self.next() {
            let failed = scanned.is_err();
            if sender.send(scanned).await.is_err() || failed {
                return;
            }
        }
    }

    /// The next window to read. None if all are taken.
    fn next(&self) -> Option<Result<ScannedWindow, DiskError>> {
        let index = self.next.fetch_add(1, Ordering::Relaxed);
        Some(self.scan(index, self.windows.get(index)?))
    }

    fn scan(&self, index: usize, window: &Range<u64>) -> Result<ScannedWindow, DiskError> {
        let mut buffer = self.buffers.take();
        let read = read_window(&*self.disk, &self.ranges, window, &mut buffer.bytes)?;
        let chunk = pack(&mut buffer.bytes, window.start).map(|chunk| (chunk, buffer));
        Ok(ScannedWindow { index, read, chunk })
    }
}
