//! A bounded cache of the tables of an image.

use std::sync::{Arc, Mutex, PoisonError};

use crate::bytes::index;
use crate::{DiskError, DiskReader};

/// The maximum number of windows in a cache. With windows of the maximum size, a cache takes 4 MiB.
const WINDOWS: usize = 64;

/// The maximum size of a window in bytes.
pub(crate) const MAX_WINDOW: u64 = 64 << 10;

/// Reads the tables of an image in windows, and keeps the most recently used ones.
#[derive(Debug)]
pub(crate) struct TableCache {
    source: Arc<dyn DiskReader>,
    window: u64,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    windows: Vec<Window>,
    clock: u64,
}

#[derive(Debug)]
struct Window {
    number: u64,
    used: u64,
    bytes: Arc<[u8]>,
}

impl TableCache {
    /// A cache with windows of `window` bytes, at most [`MAX_WINDOW`]. If windows are no larger than the tables, little
    /// is read that is not a table.
    pub(crate) fn new(source: Arc<dyn DiskReader>, window: u64) -> Self {
        Self { source, window: window.clamp(512, MAX_WINDOW), kept: Mutex::default() }
    }

    /// Fills `buffer` from the source. The part must be inside the source; `what` names it in the error.
    pub(crate) fn read(&self, offset: u64, buffer: &mut [u8], what: &str) -> Result<(), DiskError> {
        crate::reader::require(&*self.source, offset, buffer.len() as u64, what)?;
        let mut done = 0;
        while done < buffer.len() {
            let at = offset + done as u64;
            let (number, inside) = (at / self.window, index(at % self.window));
            let window = self.window(number)?;
            let part = window.get(inside..).unwrap_or_default();
            let length = part.len().min(buffer.len() - done);
            if length == 0 {
                return Err(DiskError::Truncated {
                    what: what.to_owned(),
                    needed: offset + buffer.len() as u64,
                    length: self.source.size(),
                });
            }
            buffer[done..done + length].copy_from_slice(&part[..length]);
            done += length;
        }
        Ok(())
    }

    pub(crate) fn be64(&self, offset: u64, what: &str) -> Result<u64, DiskError> {
        let mut bytes = [0; 8];
        self.read(offset, &mut bytes, what)?;
        Ok(u64::from_be_bytes(bytes))
    }

    pub(crate) fn le64(&self, offset: u64, what: &str) -> Result<u64, DiskError> {
        let mut bytes = [0; 8];
        self.read(offset, &mut bytes, what)?;
        Ok(u64::from_le_bytes(bytes))
    }

    pub(crate) fn be32(&self, offset: u64, what: &str) -> Result<u32, DiskError> {
        let mut bytes = [0; 4];
        self.read(offset, &mut bytes, what)?;
        Ok(u32::from_be_bytes(bytes))
    }

    pub(crate) fn le32(&self, offset: u64, what: &str) -> Result<u32, DiskError> {
        let mut bytes = [0; 4];
        self.read(offset, &mut bytes, what)?;
        Ok(u32::from_le_bytes(bytes))
    }

    /// A window, from the cache or the source. It is shorter than the others if the source ends in it.
    fn window(&self, number: u64) -> Result<Arc<[u8]>, DiskError> {
        {
            // The cache holds only complete windows, also after a panic in another thread.
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.clock += 1;
            let clock = kept.clock;
            if let Some(window) = kept.windows.iter_mut().find(|window| window.number == number) {
                window.used = clock;
                return Ok(Arc::clone(&window.bytes));
            }
        }
        let start = number * self.window;
        let length = self.source.size().saturating_sub(start).min(self.window);
        let mut bytes = vec![0; index(length)];
        self.source.read_at(start, &mut bytes)?;
        let bytes: Arc<[u8]> = bytes.into();
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let window = Window { number, used: kept.clock, bytes: Arc::clone(&bytes) };
        if kept.windows.len() < WINDOWS {
            kept.windows.push(window);
        } else if let Some(oldest) = kept.windows.iter_mut().min_by_key(|window| window.used) {
            *oldest = window;
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemoryDisk;

    #[test]
    fn reads_across_windows_to_the_end() {
        let bytes: Vec<u8> = (0..2_000_u32).map(|n| (n % 251).to_le_bytes()[0]).collect();
        let cache = TableCache::new(Arc::new(MemoryDisk(bytes.clone())), 512);
        for (offset, length) in [(0, 2_000), (500, 30), (1_990, 10), (511, 2), (2_000, 0)] {
            let mut buffer = vec![0; length];
            cache.read(offset as u64, &mut buffer, "the table").unwrap();
            assert_eq!(buffer, bytes[offset..offset + length]);
        }
        assert!(matches!(cache.read(1_999, &mut [0; 2], "the table"), Err(DiskError::Truncated { .. })));
    }

    #[test]
    fn keeps_a_bounded_number_of_windows() {
        let cache = TableCache::new(Arc::new(MemoryDisk(vec![7; 512 * 200])), 512);
        for n in 0..200 {
            cache.read(n * 512, &mut [0; 8], "the table").unwrap();
        }
        assert_eq!(cache.kept.lock().unwrap().windows.len(), WINDOWS);
    }
}
