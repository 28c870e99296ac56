//! A cache of recently read parts of a disk.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use goldfleet_disk::{DiskError, DiskReader};

use crate::budget::Budget;

/// Bytes per window. File systems read blocks of 512 B to 64 KiB that are often near to each other.
const WINDOW: u64 = 64 << 10;
/// Windows that are kept: 4 MiB in total.
const WINDOWS: usize = 64;

/// Reads a disk in aligned windows of 64 KiB, keeps the 64 most recently used, and charges each read of the disk to a
/// [`Budget`].
#[derive(Debug)]
pub struct Windowed {
    disk: Arc<dyn DiskReader>,
    budget: Arc<Budget>,
    /// Most recently used first: the window's index and its bytes.
    cache: Mutex<VecDeque<(u64, Arc<[u8]>)>>,
}

impl Windowed {
    /// A cache over `disk`.
    #[must_use]
    pub fn new(disk: Arc<dyn DiskReader>, budget: Arc<Budget>) -> Self {
        Self { disk, budget, cache: Mutex::new(VecDeque::new()) }
    }

    fn window(&self, index: u64) -> Result<Arc<[u8]>, DiskError> {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(position) = cache.iter().position(|(i, _)| *i == index)
            && let Some(entry) = cache.remove(position)
        {
            let bytes = Arc::clone(&entry.1);
            cache.push_front(entry);
            return Ok(bytes);
        }
        let start = index * WINDOW;
        let length = WINDOW.min(self.disk.size().saturating_sub(start));
        self.budget.charge_read(length)?;
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
        self.disk.read_at(start, &mut bytes).inspect_err(|error| self.budget.fail_read(error))?;
        let bytes: Arc<[u8]> = bytes.into();
        cache.truncate(WINDOWS - 1);
        cache.push_front((index, Arc::clone(&bytes)));
        Ok(bytes)
    }
}

impl DiskReader for Windowed {
    fn size(&self) -> u64 {
        self.disk.size()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), DiskError> {
        let size = self.size();
        let length = buffer.len() as u64;
        if offset.checked_add(length).is_none_or(|end| end > size) {
            return Err(DiskError::OutOfRange { offset, length, size });
        }
        self.budget.check()?;
        let mut done = 0;
        while done < buffer.len() {
            let at = offset + done as u64;
            let window = self.window(at / WINDOW)?;
            let from = usize::try_from(at % WINDOW).unwrap_or(0);
            let count = (window.len() - from).min(buffer.len() - done);
            buffer[done..done + count].copy_from_slice(&window[from..from + count]);
            done += count;
        }
        Ok(())
    }

    fn next_data(&self, offset: u64) -> Result<Option<Range<u64>>, DiskError> {
        self.disk.next_data(offset)
    }
}

#[cfg(test)]
mod tests {
    use goldfleet_disk::MemoryDisk;

    use super::*;
    use crate::budget::Limits;

    fn disk(length: usize) -> Vec<u8> {
        (0..length).map(|i| u8::try_from(i % 251).unwrap()).collect()
    }

    #[test]
    fn reads_across_windows_equal_the_disk() {
        let bytes = disk(300_001);
        let budget = Arc::new(Budget::new(Limits::default()));
        let windowed = Windowed::new(Arc::new(MemoryDisk(bytes.clone())), budget);
        for (offset, length) in [(0, 1), (65_535, 2), (65_000, 140_000), (300_000, 1), (0, 300_001)] {
            let mut buffer = vec![0; length];
            windowed.read_at(offset as u64, &mut buffer).unwrap();
            assert_eq!(buffer, bytes[offset..offset + length]);
        }
        assert!(matches!(windowed.read_at(300_000, &mut [0; 2]), Err(DiskError::OutOfRange { .. })));
        assert!(matches!(windowed.read_at(u64::MAX, &mut [0; 2]), Err(DiskError::OutOfRange { .. })));
    }

    #[test]
    fn a_window_in_the_cache_is_not_charged_again() {
        let budget = Arc::new(Budget::new(Limits::default()));
        let windowed = Windowed::new(Arc::new(MemoryDisk(disk(100_000))), Arc::clone(&budget));
        for _ in 0..10 {
            windowed.read_at(10, &mut [0; 100]).unwrap();
        }
        assert_eq!(budget.bytes_read(), 65_536);
    }

    #[test]
    fn the_least_recently_used_window_is_dropped() {
        let budget = Arc::new(Budget::new(Limits::default()));
        let windowed = Windowed::new(Arc::new(MemoryDisk(disk(65_536 * 65))), Arc::clone(&budget));
        for index in 0..65 {
            windowed.read_at(index * 65_536, &mut [0; 1]).unwrap();
        }
        windowed.read_at(65_536, &mut [0; 1]).unwrap();
        assert_eq!(budget.bytes_read(), 65 * 65_536, "window 1 is still cached");
        windowed.read_at(0, &mut [0; 1]).unwrap();
        assert_eq!(budget.bytes_read(), 66 * 65_536, "window 0 was dropped");
    }
}
