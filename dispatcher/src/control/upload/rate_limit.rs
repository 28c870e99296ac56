//! Limits the rate of an upload.

use std::fmt;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use goldfleet_model::text::HumanBytes;
use goldfleet_ports::clock::{Clock, after, elapsed};
use jiff::Timestamp;

/// Bytes a second, written like `200MiB/s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ByteRate(u64);

/// A text that is not a rate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a rate: write it like '200MiB/s', with KiB, MiB, GiB, kB, MB or GB")]
pub struct InvalidByteRate(String);

const UNITS: [(&str, u64); 7] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("B", 1),
];

impl FromStr for ByteRate {
    type Err = InvalidByteRate;

    fn from_str(text: &str) -> Result<Self, InvalidByteRate> {
        let parse = || {
            let amount = text.trim().strip_suffix("/s")?.trim_end();
            let (number, unit) = UNITS.iter().find_map(|(unit, bytes)| Some((amount.strip_suffix(unit)?, *bytes)))?;
            let rate = number.trim_end().parse::<u64>().ok()?.checked_mul(unit)?;
            (rate > 0).then_some(Self(rate))
        };
        parse().ok_or_else(|| InvalidByteRate(text.to_owned()))
    }
}

impl fmt::Display for ByteRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/s", HumanBytes(self.0))
    }
}

/// Spreads the bytes of an upload over time.
pub(super) struct RateLimiter {
    rate: Option<ByteRate>,
    /// When the next byte may be sent.
    next: Mutex<Timestamp>,
}

impl RateLimiter {
    pub(super) fn new(rate: Option<ByteRate>) -> Self {
        Self { rate, next: Mutex::new(Timestamp::MIN) }
    }

    /// Returns when `bytes` may be sent.
    pub(super) async fn wait_for(&self, clock: &dyn Clock, bytes: u64) {
        let Some(ByteRate(rate)) = self.rate else { return };
        let now = clock.now();
        let begin = {
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            let begin = now.max(*next);
            let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(rate);
            *next = after(begin, Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)));
            begin
        };
        clock.sleep(elapsed(now, begin)).await;
    }
}

#[cfg(test)]
mod tests {
    use goldfleet_ports::clock::TokioClock;

    use super::*;

    #[test]
    fn byte_rates_parse() {
        assert_eq!("200MiB/s".parse(), Ok(ByteRate(200 << 20)));
        assert_eq!(" 5 MB/s ".parse(), Ok(ByteRate(5_000_000)));
        assert_eq!("1B/s".parse(), Ok(ByteRate(1)));
        for bad in ["", "200", "200MiB", "MiB/s", "0MiB/s", "-1MiB/s", "99999999999999GiB/s"] {
            assert!(bad.parse::<ByteRate>().is_err(), "{bad}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn rate_limiter_limits_bytes() {
        let clock = TokioClock::starting_at(Timestamp::UNIX_EPOCH);
        let pace = RateLimiter::new(Some(ByteRate(1 << 20)));
        let begun = tokio::time::Instant::now();
        let sends = (0..10).map(|_| pace.wait_for(&clock, 1 << 20));
        futures::future::join_all(sends).await;
        assert_eq!(begun.elapsed(), Duration::from_secs(9), "the last may begin when nine have gone");
    }
}
