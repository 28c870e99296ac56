//! Disks inside a compressed stream. A stream can only be read forwards. A first pass finds the size and the data
//! ranges, and keeps the beginning and the end of the disk. A second pass serves reads in order; a small cache serves
//! reads that are slightly out of order.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Read};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use super::Compression;
use super::decoder::new_decoder;
use crate::bytes::index;
use crate::chunk::is_zero;
use crate::reader::check_range;
use crate::{DiskError, DiskReader};

/// The unit in which the stream is decoded and kept.
const WINDOW: u64 = 1 << 20;

/// The unit in which zeros are found. Holes in the disk are multiples of it.
const GRANULE: u64 = 64 << 10;

/// The number of recent windows in the cache: reads may be this far out of order.
const KEPT_WINDOWS: usize = 48;

/// The number of windows at the end that are kept: they hold the footer and the backup of the partition table.
const TAIL_WINDOWS: usize = 6;

/// How many times the stream may be decoded from its beginning again.
const MAX_RESTARTS: u32 = 64;

/// The maximum size of a disk in a stream in bytes: Azure's maximum for an OS disk, and room for a footer.
const MAX_DISK: u64 = 4 << 40;

/// The maximum number of data ranges. Further holes count as data.
const MAX_RANGES: usize = 1 << 20;

/// A disk that is read as a stream.
pub(crate) struct CompressedDisk {
    source: Arc<dyn DiskReader>,
    compression: Compression,
    size: u64,
    data: Vec<Range<u64>>,
    head: Vec<u8>,
    /// The last bytes, and where they begin.
    tail: (u64, Vec<u8>),
    state: Mutex<State>,
}

struct State {
    decoder: Box<dyn Read + Send>,
    /// The next window that the decoder gives.
    next: u64,
    kept: VecDeque<(u64, Arc<[u8]>)>,
    restarts: u32,
}

impl fmt::Debug for CompressedDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = f.debug_struct("CompressedDisk");
        f.field("compression", &self.compression).field("size", &self.size).finish_non_exhaustive()
    }
}

/// The first bytes of the decompressed disk, at most 1 MiB.
pub(crate) fn head(source: &Arc<dyn DiskReader>, compression: Compression) -> Result<Vec<u8>, DiskError> {
    let mut decoder = new_decoder(source, compression);
    let mut window = vec![0; index(WINDOW)];
    let length = fill(&mut *decoder, &mut window, compression)?;
    window.truncate(length);
    Ok(window)
}

impl CompressedDisk {
    /// Decodes the whole stream once. `check_limits` is called for each window, and stops decoding by an error.
    pub(crate) fn open(
        source: Arc<dyn DiskReader>,
        compression: Compression,
        check_limits: &dyn Fn() -> Result<(), DiskError>,
    ) -> Result<Self, DiskError> {
        let mut decoder = new_decoder(&source, compression);
        let (mut size, mut data, mut head) = (0, Vec::new(), Vec::new());
        let mut tail: VecDeque<Vec<u8>> = VecDeque::new();
        loop {
            check_limits()?;
            let mut window = if tail.len() > TAIL_WINDOWS { tail.pop_front() } else { None }.unwrap_or_default();
            window.resize(index(WINDOW), 0);
            let length = fill(&mut *decoder, &mut window, compression)?;
            window.truncate(length);
            record_data(&mut data, size, &window);
            if size == 0 {
                head.clone_from(&window);
            }
            size += length as u64;
            tail.push_back(window);
            if size > MAX_DISK {
                return Err(DiskError::Limit(format!("the {compression} stream holds more than {MAX_DISK} bytes")));
            }
            if (length as u64) < WINDOW {
                break;
            }
        }
        let tail = tail.into_iter().collect::<Vec<_>>().concat();
        let state = State { decoder: new_decoder(&source, compression), next: 0, kept: VecDeque::new(), restarts: 0 };
        let tail = (size - tail.len() as u64, tail);
        Ok(Self { source, compression, size, data, head, tail, state: Mutex::new(state) })
    }

    /// A window, from the cache or by decoding up to it.
    fn window(&self, number: u64) -> Result<Arc<[u8]>, DiskError> {
        // After a panic in another thread, the position of the decoder is unknown.
        let mut state = match self.state.lock() {
            Ok(state) => state,
            Err(poisoned) => {
                self.state.clear_poison();
                let mut state = PoisonError::into_inner(poisoned);
                self.restart(&mut state)?;
                state
            }
        };
        if let Some((_, bytes)) = state.kept.iter().find(|(kept, _)| *kept == number) {
            return Ok(Arc::clone(bytes));
        }
        if number < state.next {
            self.restart(&mut state)?;
        }
        loop {
            let current = state.next;
            let length = index((self.size - current * WINDOW).min(WINDOW));
            let mut window = vec![0; length];
            if fill(&mut *state.decoder, &mut window, self.compression)? != length {
                return Err(DiskError::damaged("the file has changed while it was read"));
            }
            let bytes: Arc<[u8]> = window.into();
            state.next += 1;
            if state.kept.len() == KEPT_WINDOWS {
                state.kept.pop_front();
            }
            state.kept.push_back((current, Arc::clone(&bytes)));
            if current == number {
                return Ok(bytes);
            }
        }
    }

    fn restart(&self, state: &mut State) -> Result<(), DiskError> {
        state.restarts += 1;
        if state.restarts > MAX_RESTARTS {
            return Err(DiskError::Sequential(format!(
                "the file is compressed ({}) and can only be read from its beginning to its end",
                self.compression
            )));
        }
        state.decoder = new_decoder(&self.source, self.compression);
        state.next = 0;
        state.kept.clear();
        Ok(())
    }
}

impl DiskReader for CompressedDisk {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), DiskError> {
        check_range(self.size, offset, buffer.len())?;
        let end = offset + buffer.len() as u64;
        if end <= self.head.len() as u64 {
            buffer.copy_from_slice(&self.head[index(offset)..index(end)]);
            return Ok(());
        }
        if offset >= self.tail.0 {
            buffer.copy_from_slice(&self.tail.1[index(offset - self.tail.0)..index(end - self.tail.0)]);
            return Ok(());
        }
        crate::blocks::for_each_block(WINDOW, offset, buffer, |number, inside, part| {
            let start = number * WINDOW + inside;
            let data = self.next_data(start)?.is_some_and(|range| range.start < start + part.len() as u64);
            if data {
                let window = self.window(number)?;
                part.copy_from_slice(&window[index(inside)..index(inside) + part.len()]);
            } else {
                part.fill(0);
            }
            Ok(())
        })
    }

    fn next_data(&self, offset: u64) -> Result<Option<Range<u64>>, DiskError> {
        let next = self.data.partition_point(|range| range.end <= offset);
        Ok(self.data.get(next).map(|range| range.start.max(offset)..range.end))
    }
}

/// Adds the parts of a window that are not zero to the data ranges.
fn record_data(data: &mut Vec<Range<u64>>, start: u64, window: &[u8]) {
    let coarse = data.len() >= MAX_RANGES;
    for (granule, at) in window.chunks(index(GRANULE)).zip((start..).step_by(index(GRANULE))) {
        if is_zero(granule) {
            continue;
        }
        let end = at + granule.len() as u64;
        match data.last_mut() {
            Some(last) if last.end == at || coarse => last.end = end,
            _ => data.push(at..end),
        }
    }
}

/// Fills the buffer, up to the end of the stream. Returns the number of bytes.
fn fill(decoder: &mut dyn Read, buffer: &mut [u8], compression: Compression) -> Result<usize, DiskError> {
    let mut filled = 0;
    while filled < buffer.len() {
        match decoder.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(length) => filled += length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(stream_error(error, compression)),
        }
    }
    Ok(filled)
}

fn stream_error(error: io::Error, compression: Compression) -> DiskError {
    match error.kind() {
        io::ErrorKind::OutOfMemory => {
            DiskError::Limit(format!("decompressing the {compression} stream takes too much memory"))
        }
        io::ErrorKind::UnexpectedEof => DiskError::damaged(format!("the {compression} stream is cut short")),
        // An error of the file itself, as opposed to one of the decoder.
        _ if error.raw_os_error().is_some() => DiskError::Io(error),
        _ => DiskError::damaged(format!("the {compression} stream cannot be decompressed: {error}")),
    }
}
