//! How long an adapter waits for the answer to a request.

use std::time::Duration;

use goldfleet_model::manifest::CHUNK_SIZE;

/// How long requests are waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeoutPolicy {
    /// How long a service may say nothing once it has all that it needs, or in the middle of an answer.
    pub idle: Duration,
    /// Bytes a second at which a request's body must get out at least.
    pub min_upload_rate: u64,
    /// Bytes a second at which a service must get what it reads from another account at least.
    pub min_source_rate: u64,
}

impl Default for TimeoutPolicy {
    /// A minute, and 4 KiB/s on the line: eight requests that share 32 KiB/s are still waited for. From account to account
    /// 64 KiB/s: what is slower, in a data centre, is as good as not there.
    fn default() -> Self {
        Self { idle: Duration::from_secs(60), min_upload_rate: 4 << 10, min_source_rate: 64 << 10 }
    }
}

impl TimeoutPolicy {
    /// How long an answer may take to begin, to a request that sends `body` bytes, or has a source read.
    #[must_use]
    pub fn response_timeout(&self, body: u64, from_source: bool) -> Duration {
        let source = if from_source { CHUNK_SIZE } else { 0 };
        self.idle + transfer_time(body, self.min_upload_rate) + transfer_time(source, self.min_source_rate)
    }
}

/// How long bytes take at so many a second.
fn transfer_time(bytes: u64, rate: u64) -> Duration {
    let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(rate.max(1));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}
