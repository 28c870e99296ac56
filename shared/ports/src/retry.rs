//! Retries of requests with transient errors, within one attempt of an operation.

use std::future::Future;
use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBuilder};

use crate::clock::Clock;
use crate::error::{PortError, PortResult};
use crate::rng;

/// The wait after the first try. It doubles with each try and has jitter.
const FIRST_WAIT: Duration = Duration::from_millis(100);

/// The longest wait, unless the service asks for a longer one.
const MAX_WAIT: Duration = Duration::from_secs(5);

/// The number of tries before the error is returned.
const MAX_TRIES: usize = 5;

/// Calls `request` until it succeeds, `again` returns false for its error, or five tries have failed. It waits for the
/// time in Retry-After if the service sends one.
///
/// # Errors
/// The error of the last try.
pub async fn retry_transient<T, F, Fut>(
    clock: &dyn Clock,
    again: fn(&PortError) -> bool,
    mut request: F,
) -> PortResult<T>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = PortResult<T>>,
{
    let waits = ExponentialBuilder::default()
        .with_min_delay(FIRST_WAIT)
        .with_max_delay(MAX_WAIT)
        .with_max_times(MAX_TRIES - 1)
        .with_jitter()
        .with_jitter_seed(rng::random_u64())
        .build();
    for wait in waits {
        match request().await {
            Err(error) if again(&error) => clock.sleep(error.retry_after.unwrap_or(wait)).await,
            ended => return ended,
        }
    }
    request().await
}
