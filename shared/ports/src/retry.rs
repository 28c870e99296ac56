//! Retries of requests with transient errors, within one attempt of an operation.

use std::future::Future;
use std::time::Duration;

use crate::backoff::Backoff;
use crate::clock::Clock;
use crate::error::{PortError, PortResult};

/// The waits between tries, before jitter. A service may ask for longer ones.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));

/// The number of tries before the error is returned.
const MAX_TRIES: usize = 5;

/// Calls `request` until it succeeds, `again` returns false for its error, or five tries have failed. It waits for the
/// time in Retry-After if the service sends one.
///
/// # Errors
/// The error of the last try.
pub async fn retry_transient<T, F, Fut>(clock: &dyn Clock, again: fn(&PortError) -> bool, request: F) -> PortResult<T>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = PortResult<T>>,
{
    retry_within(clock, Duration::MAX, again, request).await
}

/// As [`retry_transient`], but does not wait for more than `longest`: then the caller decides, because it has other
/// work to do.
///
/// # Errors
/// The error of the last try, with the wait that the service asks for.
pub async fn retry_within<T, F, Fut>(
    clock: &dyn Clock,
    longest: Duration,
    again: fn(&PortError) -> bool,
    mut request: F,
) -> PortResult<T>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = PortResult<T>>,
{
    for wait in BACKOFF.jittered_waits(MAX_TRIES) {
        match request().await {
            Err(error) if again(&error) && error.retry_after.is_none_or(|asked| asked <= longest) => {
                clock.sleep(error.retry_after.unwrap_or(wait)).await;
            }
            ended => return ended,
        }
    }
    request().await
}
