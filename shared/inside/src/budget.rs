//! Limits on what one inspection may use.
//!
//! An image is data from somebody else. Whatever it contains, an inspection reads at most [`Limits::bytes_read`] from the disk,
//! takes at most [`Limits::time`], and keeps at most [`Limits::memory`] in the buffers whose size the image decides. All readers
//! share one [`Budget`] and charge it before they read or allocate. The first limit that is exceeded is remembered, so that it
//! is reported even if a library in between replaces the error by its own.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
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

/// A limit that an inspection exceeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Exceeded {
    /// [`Limits::bytes_read`].
    #[error("more than {} MiB had to be read", .0 >> 20)]
    BytesRead(u64),
    /// [`Limits::time`].
    #[error("it took longer than {} s", .0.as_secs())]
    Time(Duration),
    /// [`Limits::memory`].
    #[error("more than {} MB of memory was needed", .0 / 1_000_000)]
    Memory(u64),
}

impl From<Exceeded> for DiskError {
    fn from(exceeded: Exceeded) -> Self {
        Self::Unsupported(exceeded.to_string())
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
    exceeded: OnceLock<Exceeded>,
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
            exceeded: OnceLock::new(),
        }
    }

    /// The first limit that was exceeded, if any.
    pub fn exceeded(&self) -> Option<Exceeded> {
        self.exceeded.get().copied()
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
    /// The limit that is exceeded now, or that was exceeded earlier.
    pub fn check(&self) -> Result<(), Exceeded> {
        if let Some(exceeded) = self.exceeded() {
            return Err(exceeded);
        }
        if self.start.elapsed() > self.limits.time {
            return Err(self.fail(Exceeded::Time(self.limits.time)));
        }
        Ok(())
    }

    /// Charges a read of `length` bytes from the disk, and checks the time.
    ///
    /// # Errors
    /// The limit that is exceeded by this read, or that was exceeded earlier.
    pub fn charge_read(&self, length: u64) -> Result<(), Exceeded> {
        self.check()?;
        let before = self.bytes_read.fetch_add(length, Ordering::Relaxed);
        if before.saturating_add(length) > self.limits.bytes_read {
            return Err(self.fail(Exceeded::BytesRead(self.limits.bytes_read)));
        }
        Ok(())
    }

    /// Reserves memory for a buffer until the reservation is dropped. Call this before the allocation.
    ///
    /// # Errors
    /// The limit that is exceeded by this buffer, or that was exceeded earlier.
    pub fn reserve(&self, length: u64) -> Result<Reservation<'_>, Exceeded> {
        self.check()?;
        let before = self.memory.fetch_add(length, Ordering::Relaxed);
        let total = before.saturating_add(length);
        if total > self.limits.memory {
            self.memory.fetch_sub(length, Ordering::Relaxed);
            return Err(self.fail(Exceeded::Memory(self.limits.memory)));
        }
        self.peak_memory.fetch_max(total, Ordering::Relaxed);
        Ok(Reservation { budget: self, length })
    }

    fn fail(&self, exceeded: Exceeded) -> Exceeded {
        *self.exceeded.get_or_init(|| exceeded)
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
        assert_eq!(budget.charge_read(1), Err(Exceeded::BytesRead(100)));
        assert_eq!(budget.exceeded(), Some(Exceeded::BytesRead(100)));
        assert_eq!(budget.charge_read(0), Err(Exceeded::BytesRead(100)), "the first failure is remembered");
    }

    #[test]
    fn memory_is_returned_when_the_reservation_is_dropped() {
        let budget = Budget::new(limits());
        let first = budget.reserve(80).unwrap();
        drop(first);
        let _second = budget.reserve(100).unwrap();
        assert_eq!(budget.reserve(1).map(|_| ()), Err(Exceeded::Memory(100)));
        assert_eq!(budget.peak_memory(), 100);
    }

    #[test]
    fn a_read_after_the_time_limit_fails() {
        let budget = Budget::new(Limits { time: Duration::ZERO, ..limits() });
        while budget.elapsed().is_zero() {}
        assert_eq!(budget.check(), Err(Exceeded::Time(Duration::ZERO)));
    }
}
