//! Limits on what one inspection may use.
//!
//! An image is data from somebody else. Whatever it contains, an inspection reads at most [`Limits::bytes_read`] from
//! the disk, takes at most [`Limits::time`], and keeps at most [`Limits::memory`] in the buffers whose size the image
//! decides. All readers share one [`Budget`] and charge it before they read or allocate. The first limit that is
//! exceeded, or the first read of the disk that fails, stops the inspection: all later reads fail. It is remembered, so
//! that it is reported even if a library in between replaces the error by its own.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use goldfleet_disk::DiskError;

/// What one inspection may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes read from the disk image.
    pub bytes_read: u64,
    /// Elapsed time.
    pub time: Duration,
    /// Bytes of memory in buffers whose size depends on the image.
    pub memory: u64,
}

impl Default for Limits {
    /// 1 GiB read, 60 s, 256 MB.
    fn default() -> Self {
        Self { bytes_read: 1 << 30, time: Duration::from_secs(60), memory: 256_000_000 }
    }
}

/// Why an inspection was stopped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Stop {
    /// [`Limits::bytes_read`].
    #[error("more than {} MiB had to be read", .0 >> 20)]
    BytesRead(u64),
    /// [`Limits::time`].
    #[error("it took longer than {} s", .0.as_secs())]
    Time(Duration),
    /// [`Limits::memory`].
    #[error("more than {} MB of memory was needed", .0 / 1_000_000)]
    Memory(u64),
    /// The disk image could not be read, for this reason.
    #[error("the disk cannot be read: {0}")]
    Unreadable(Arc<str>),
}

impl From<Stop> for DiskError {
    fn from(stop: Stop) -> Self {
        Self::Unsupported(stop.to_string())
    }
}

/// What an inspection has used so far. Shared by all readers of one disk.
#[derive(Debug)]
pub struct Budget {
    limits: Limits,
    start: Instant,
    bytes_read: AtomicU64,
    memory: AtomicU64,
    peak_memory: AtomicU64,
    stop: OnceLock<Stop>,
}

impl Budget {
    /// A budget whose time starts now.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            start: Instant::now(),
            bytes_read: AtomicU64::new(0),
            memory: AtomicU64::new(0),
            peak_memory: AtomicU64::new(0),
            stop: OnceLock::new(),
        }
    }

    /// What the inspection may use.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Why the inspection was stopped, if it was: the first limit that was exceeded, or the first read that failed.
    pub fn stopped(&self) -> Option<Stop> {
        self.stop.get().cloned()
    }

    /// Bytes read from the disk so far.
    pub fn bytes_read(&self) -> u64 {
        self.bytes_read.load(Ordering::Relaxed)
    }

    /// The most memory that was reserved at one time, in bytes.
    pub fn peak_memory(&self) -> u64 {
        self.peak_memory.load(Ordering::Relaxed)
    }

    /// Time since the budget was made.
    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// Checks the time. Loops over data that is already in memory call this once per step.
    ///
    /// # Errors
    /// The limit that is exceeded now, or why the inspection was stopped earlier.
    pub fn check(&self) -> Result<(), Stop> {
        if let Some(stop) = self.stopped() {
            return Err(stop);
        }
        if self.start.elapsed() > self.limits.time {
            return Err(self.fail(Stop::Time(self.limits.time)));
        }
        Ok(())
    }

    /// Charges a read of `length` bytes from the disk, and checks the time.
    ///
    /// # Errors
    /// The limit that is exceeded by this read, or why the inspection was stopped earlier.
    pub fn charge_read(&self, length: u64) -> Result<(), Stop> {
        self.check()?;
        let before = self.bytes_read.fetch_add(length, Ordering::Relaxed);
        if before.saturating_add(length) > self.limits.bytes_read {
            return Err(self.fail(Stop::BytesRead(self.limits.bytes_read)));
        }
        Ok(())
    }

    /// Reserves memory for a buffer until the reservation is dropped. Call this before the allocation.
    ///
    /// # Errors
    /// The limit that is exceeded by this buffer, or why the inspection was stopped earlier.
    pub fn reserve(&self, length: u64) -> Result<Reservation<'_>, Stop> {
        self.check()?;
        let before = self.memory.fetch_add(length, Ordering::Relaxed);
        let total = before.saturating_add(length);
        if total > self.limits.memory {
            self.memory.fetch_sub(length, Ordering::Relaxed);
            return Err(self.fail(Stop::Memory(self.limits.memory)));
        }
        self.peak_memory.fetch_max(total, Ordering::Relaxed);
        Ok(Reservation { budget: self, length })
    }

    /// Records that a read of the disk failed, which stops the inspection.
    pub fn fail_read(&self, error: &DiskError) {
        self.fail(Stop::Unreadable(error.to_string().into()));
    }

    fn fail(&self, stop: Stop) -> Stop {
        self.stop.get_or_init(|| stop).clone()
    }
}

/// Memory reserved by [`Budget::reserve`]. Dropping it returns the memory to the budget.
#[derive(Debug)]
pub struct Reservation<'a> {
    budget: &'a Budget,
    length: u64,
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        self.budget.memory.fetch_sub(self.length, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Limits {
        Limits { bytes_read: 100, time: Duration::from_secs(60), memory: 100 }
    }

    #[test]
    fn reads_are_charged_until_the_limit() {
        let budget = Budget::new(limits());
        assert_eq!(budget.charge_read(60), Ok(()));
        assert_eq!(budget.charge_read(40), Ok(()));
        assert_eq!(budget.charge_read(1), Err(Stop::BytesRead(100)));
        assert_eq!(budget.stopped(), Some(Stop::BytesRead(100)));
        assert_eq!(budget.charge_read(0), Err(Stop::BytesRead(100)), "the first failure is remembered");
    }

    #[test]
    fn memory_is_returned_when_the_reservation_is_dropped() {
        let budget = Budget::new(limits());
        let first = budget.reserve(80).unwrap();
        drop(first);
        let _second = budget.reserve(100).unwrap();
        assert_eq!(budget.reserve(1).map(|_| ()), Err(Stop::Memory(100)));
        assert_eq!(budget.peak_memory(), 100);
    }

    #[test]
    fn a_read_after_the_time_limit_fails() {
        let budget = Budget::new(Limits { time: Duration::ZERO, ..limits() });
        while budget.elapsed().is_zero() {}
        assert_eq!(budget.check(), Err(Stop::Time(Duration::ZERO)));
    }
}
