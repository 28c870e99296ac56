//! Readers: they turn windows of the disk into chunks.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use goldfleet_disk::chunk::{PackedChunk, pack, read_window, windows};
use goldfleet_disk::{AzureDisk, DiskError, DiskReader as _};
use goldfleet_model::manifest::ChunkEntry;
use goldfleet_sources::{EarlierContent, EarlierWindow};
use tokio::sync::mpsc;

use super::buffers::{Buffer, Buffers};
use crate::control::context::ScanThreads;

/// The disk of an upload, how many threads read it at the same time, and what is known of it before.
#[derive(Clone)]
pub(super) struct ScannedDisk {
    pub(super) disk: Arc<AzureDisk>,
    pub(super) readers: usize,
    /// An earlier content of the disk with the same size.
    pub(super) earlier: Option<EarlierContent>,
}

/// The windows of a disk that have data: which are read, and which are known.
pub(super) struct ScanPlan {
    ranges: Arc<[Range<u64>]>,
    /// The windows, by their index in the manifest if no window is zero.
    windows: Vec<Range<u64>>,
    /// The indexes of the windows to read.
    read: Vec<usize>,
    /// The chunks of the windows that an earlier content has too, by the index of the window.
    pub(super) known: Vec<(usize, ChunkEntry)>,
}

impl ScanPlan {
    /// Plans to read what is not known of a disk.
    pub(super) fn of(source: &ScannedDisk) -> Result<Self, DiskError> {
        let disk = &source.disk;
        let ranges: Arc<[Range<u64>]> = disk.data_ranges().collect::<Result<Vec<_>, _>>()?.into();
        let windows: Vec<Range<u64>> = windows(&ranges, disk.size()).collect();
        let (mut read, mut known) = (Vec::new(), Vec::new());
        for (index, window) in windows.iter().enumerate() {
            match source.earlier.as_ref().map_or(EarlierWindow::Differs, |earlier| earlier.window(window)) {
                EarlierWindow::Differs => read.push(index),
                EarlierWindow::Chunk(entry) => known.push((index, entry.clone())),
                EarlierWindow::Zero => {}
            }
        }
        Ok(Self { ranges, windows, read, known })
    }

    /// The number of windows.
    pub(super) fn windows(&self) -> usize {
        self.windows.len()
    }

    /// The number of bytes to read.
    pub(super) fn bytes(&self) -> u64 {
        self.read.iter().map(|index| self.bytes_of(*index)).sum()
    }

    /// The bytes of the data ranges in a window.
    fn bytes_of(&self, index: usize) -> u64 {
        let Some(window) = self.windows.get(index) else { return 0 };
        let first = self.ranges.partition_point(|range| range.end <= window.start);
        let inside = self.ranges[first..].iter().take_while(|range| range.start < window.end);
        inside.map(|range| range.end.min(window.end) - range.start.max(window.start)).sum()
    }

    /// Plans to read a window after all. Returns the number of bytes.
    pub(super) fn read_too(&mut self, index: usize) -> u64 {
        self.read.push(index);
        self.bytes_of(index)
    }
}

/// A window that was read.
pub(super) struct ScannedWindow {
    /// Its index among the windows.
    pub(super) index: usize,
    /// The number of bytes that were read.
    pub(super) read: u64,
    /// The chunk and its bytes. None if the window is all zero.
    pub(super) chunk: Option<(PackedChunk, Buffer)>,
}

/// A scan in progress: the windows that were read, in any order.
pub(super) type Scan = mpsc::Receiver<Result<ScannedWindow, DiskError>>;

/// Starts to read a disk. The readers end when all planned windows are read, or when the receiver is dropped.
pub(super) fn start(source: &ScannedDisk, plan: &ScanPlan, threads: ScanThreads, buffers: &Buffers) -> Scan {
    let window = |index: &usize| Some((*index, plan.windows.get(*index)?.clone()));
    let planned: Arc<[(usize, Range<u64>)]> = plan.read.iter().filter_map(window).collect();
    let next = Arc::new(AtomicUsize::new(0));
    let (sender, scanned) = mpsc::channel(1);
    for _ in 0..source.readers {
        let reader = ScanThread {
            disk: Arc::clone(&source.disk),
            ranges: Arc::clone(&plan.ranges),
            windows: Arc::clone(&planned),
            next: Arc::clone(&next),
            buffers: buffers.clone(),
        };
        let sender = sender.clone();
        match threads {
            ScanThreads::Threads => drop(tokio::task::spawn_blocking(move || reader.run(&sender))),
            ScanThreads::Sender => drop(tokio::spawn(async move { reader.run_on_sender(&sender).await })),
        }
    }
    scanned
}

struct ScanThread {
    disk: Arc<AzureDisk>,
    ranges: Arc<[Range<u64>]>,
    windows: Arc<[(usize, Range<u64>)]>,
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
        let (index, window) = self.windows.get(self.next.fetch_add(1, Ordering::Relaxed))?;
        Some(self.scan(*index, window))
    }

    fn scan(&self, index: usize, window: &Range<u64>) -> Result<ScannedWindow, DiskError> {
        let mut buffer = self.buffers.take();
        let read = read_window(&*self.disk, &self.ranges, window, &mut buffer.bytes)?;
        let chunk = pack(&mut buffer.bytes, window.start).map(|chunk| (chunk, buffer));
        Ok(ScannedWindow { index, read, chunk })
    }
}
