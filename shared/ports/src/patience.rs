//! How long an adapter waits for the answer to a request.

use std::time::Duration;

use goldfleet_model::manifest::CHUNK_SIZE;

/// How long requests are waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// How long a service may say nothing once it has all that it needs, or in the middle of an answer.
    pub silence: Duration,
    /// Bytes a second at which a request's body must get out at least.
    pub line: u64,
    /// Bytes a second at which a service must get what it reads from another account at least.
    pub source: u64,
}

impl Default for Patience {
    /// A minute, and 4 KiB/s on the line: eight requests that share 32 KiB/s are still waited for. From account to account
    /// 64 KiB/s: what is slower, in a data centre, is as good as not there.
    fn default() -> Self {
        Self { silence: Duration::from_secs(60), line: 4 << 10, source: 64 << 10 }
    }
}

impl Patience {
    /// How long an answer may take to begin, to a request that sends `body` bytes, or has a source read.
    #[must_use]
    pub fn for_answer(&self, body: u64, from_source: bool) -> Duration {
        let source = if from_source { CHUNK_SIZE } else { 0 };
        self.silence + at(body, self.line) + at(source, self.source)
    }
}

/// How long bytes take at so many a second.
fn at(bytes: u64, rate: u64) -> Duration {
    let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(rate.max(1));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}
