//! Trying again what may pass, within one attempt of whatever is being done.

use std::future::Future;
use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBuilder};

use crate::clock::Clock;
use crate::error::{PortError, PortResult};
use crate::rng;

/// The wait after the first try; it doubles, with jitter.
const FIRST_WAIT: Duration = Duration::from_millis(100);

/// The longest wait that is chosen here; a service may ask for a longer one.
const MAX_WAIT: Duration = Duration::from_secs(5);

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
