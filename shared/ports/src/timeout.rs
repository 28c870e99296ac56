//! The timeouts of requests.

use std::time::Duration;

use goldfleet_model::manifest::CHUNK_SIZE;

/// How long a request may take: idle time plus the time of its bytes at a minimum rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeoutPolicy {
    /// How long a service may send nothing after it has received the whole request, or in the middle of a response.
    pub idle: Duration,
    /// The minimum rate at which the body of a request is sent, in bytes per second.
    pub min_upload_rate: u64,
    /// The minimum rate at which a service reads from another account, in bytes per second.
    pub min_source_rate: u64,
    /// The longest wait that is accepted from a Retry-After header. A longer one counts as this one.
    pub max_retry_after: Duration,
}

/// The longest wait that a Retry-After header may ask for, unless the configuration sets another one.
pub const MAX_RETRY_AFTER: Duration = Duration::from_secs(10 * 60);

/// The longest wait of workers and dispatchers within a request, a step or a pass. A service that asks for more gets
/// the request again later: the operation is deferred, and the process does other work. Commands of an operator wait as
/// long as a service asks.
pub const MAX_WAIT_IN_PLACE: Duration = Duration::from_secs(5);

/// Whether a wait that a service asks for is short enough to wait within the request, the step or the pass.
#[must_use]
pub fn fits_in_place(asked: Option<Duration>) -> bool {
    asked.is_none_or(|wait| wait <= MAX_WAIT_IN_PLACE)
}

impl Default for TimeoutPolicy {
    /// One minute idle. 4 KiB/s for uploads: eight requests that share a connection of 32 KiB/s do not time out. 64
    /// KiB/s from account to account: a transfer inside data centres that is slower has effectively failed.
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(60),
            min_upload_rate: 4 << 10,
            min_source_rate: 64 << 10,
            max_retry_after: MAX_RETRY_AFTER,
        }
    }
}

impl TimeoutPolicy {
    /// The maximum time until a response begins. The request sends `body` bytes; `from_source` means that it makes the
    /// service read up to one chunk from another account.
    #[must_use]
    pub fn response_timeout(&self, body: u64, from_source: bool) -> Duration {
        let source = if from_source { CHUNK_SIZE } else { 0 };
        self.idle + transfer_time(body, self.min_upload_rate) + transfer_time(source, self.min_source_rate)
    }
}

/// The time for `bytes` at `rate` bytes per second.
fn transfer_time(bytes: u64, rate: u64) -> Duration {
    let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(rate.max(1));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}
