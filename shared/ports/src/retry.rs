//! Trying again what may pass, within one attempt of whatever is being done.

use std::future::Future;
use std::time::Duration;

use crate::backoff::Backoff;
use crate::clock::Clock;
use crate::error::{PortError, PortResult};

/// The waits between tries, before jitter. A service may ask for longer ones.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));

/// How often a request is tried before its error is believed.
const MAX_TRIES: usize = 5;

/// Calls `request` until it succeeds, `again` says that its error is not worth another try, or it was tried
/// five times. A service's Retry-After is honoured.
///
/// # Errors
/// The last try's.
pub async fn retry_transient<T, F, Fut>(
    clock: &dyn Clock,
    again: fn(&PortError) -> bool,
    mut request: F,
) -> PortResult<T>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = PortResult<T>>,
{
    for wait in BACKOFF.jittered_waits(MAX_TRIES) {
        match request().await {
            Err(error) if again(&error) => clock.sleep(error.retry_after.unwrap_or(wait)).await,
            ended => return ended,
        }
    }
    request().await
}
