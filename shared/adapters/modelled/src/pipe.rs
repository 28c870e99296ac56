//! Pipes and buckets, which convert amounts into time. Pure. All times are nanoseconds since the start of the model.

use std::time::Duration;

use super::limits::{BucketRates, Rate};

/// Nanoseconds since the start of the model.
pub(super) type SimNanos = u64;

/// A duration in nanoseconds, or the maximum if it does not fit.
pub(super) fn nanos(duration: Duration) -> SimNanos {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

const SECOND: u128 = 1_000_000_000;

/// A first-in-first-out server with a rate in units per second. A request waits until all earlier requests are through.
/// If requests have similar sizes, each of the concurrent ones gets a fair share.
#[derive(Debug, Clone, Default)]
pub(super) struct Pipe {
    rate: Rate,
    free_at: SimNanos,
    busy: u64,
}

impl Pipe {
    pub(super) fn new(rate: Rate) -> Self {
        Self { rate, free_at: 0, busy: 0 }
    }

    /// How long the pipe remains busy with earlier requests, in nanoseconds.
    pub(super) fn backlog(&self, now: SimNanos) -> u64 {
        self.free_at.saturating_sub(now)
    }

    /// Sends `amount` through the pipe. Returns the time at which it is through.
    pub(super) fn take(&mut self, now: SimNanos, amount: u64) -> SimNanos {
        let Some(rate) = self.rate else { return now };
        let took = nanoseconds(amount, rate);
        self.busy += took;
        self.free_at = self.free_at.max(now).saturating_add(took);
        self.free_at
    }

    /// The total time for which the pipe has been or will be busy with all accepted requests since the last reset, in
    /// nanoseconds.
    pub(super) fn busy(&self) -> u64 {
        self.busy
    }

    /// Resets the total busy time.
    pub(super) fn reset_busy(&mut self) {
        self.busy = 0;
    }
}

/// The time for `amount` at `rate` per second, in nanoseconds.
pub(super) fn nanoseconds(amount: u64, rate: u64) -> u64 {
    u64::try_from(u128::from(amount) * SECOND / u128::from(rate.max(1))).unwrap_or(u64::MAX)
}

/// A token bucket that starts full.
#[derive(Debug, Clone)]
pub(super) struct Bucket {
    rates: BucketRates,
    /// The time at which the bucket is full again if no more tokens are taken.
    full: SimNanos,
}

impl Bucket {
    pub(super) fn new(rates: BucketRates) -> Self {
        Self { rates, full: 0 }
    }

    /// Takes a token.
    ///
    /// # Errors
    /// The number of nanoseconds until the next token, if the bucket is empty.
    pub(super) fn take(&mut self, now: SimNanos) -> Result<(), u64> {
        let token = nanoseconds(1000, self.rates.per_1000_seconds);
        let full = self.full.max(now).saturating_add(token);
        let most = token.saturating_mul(self.rates.burst);
        match (full - now).checked_sub(most) {
            None | Some(0) => {
                self.full = full;
                Ok(())
            }
            Some(wait) => Err(wait),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    #[test]
    fn pipe_serialises_and_keeps_no_credit() {
        let mut pipe = Pipe::new(Some(100));
        assert_eq!(pipe.take(0, 50), S / 2);
        assert_eq!(pipe.take(0, 100), S + S / 2);
        assert_eq!(pipe.backlog(S), S / 2);
        // The pipe is idle from 1.5 s to 3 s.
        assert_eq!(pipe.take(3 * S, 100), 4 * S);
        assert_eq!(pipe.busy(), 2 * S + S / 2);
        assert_eq!(Pipe::default().take(7, 1 << 40), 7);
    }

    #[test]
    fn bucket_allows_burst_then_rate() {
        let mut bucket = Bucket::new(BucketRates { burst: 3, per_1000_seconds: 2000 });
        assert_eq!([0, 0, 0].map(|now| bucket.take(now)), [Ok(()); 3]);
        assert_eq!(bucket.take(0), Err(S / 2));
        assert_eq!(bucket.take(S / 4), Err(S / 4));
        assert_eq!([S / 2, S / 2].map(|now| bucket.take(now)), [Ok(()), Err(S / 2)]);
        // Two tokens arrive per second. After a long time the bucket holds no more than the burst.
        assert_eq!([S, S + S / 2].map(|now| bucket.take(now)), [Ok(()), Ok(())]);
        let later = [100 * S; 4].map(|now| bucket.take(now));
        assert_eq!(later, [Ok(()), Ok(()), Ok(()), Err(S / 2)]);
    }
}
