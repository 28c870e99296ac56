//! What the queues and tables in memory share: a state behind a lock, and the latency of each request.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use goldfleet_ports::clock::{Clock, after};
use jiff::Timestamp;

/// A state in memory. Requests never block a thread, so that they work in virtual time.
pub(super) struct InMemory<S> {
    clock: Arc<dyn Clock>,
    latency: Duration,
    state: Mutex<S>,
}

impl<S: Default> InMemory<S> {
    /// Creates an empty state. Each request takes `latency` on this clock.
    pub(super) fn new(clock: Arc<dyn Clock>, latency: Duration) -> Self {
        Self { clock, latency, state: Mutex::default() }
    }
}

impl<S> InMemory<S> {
    /// Waits for the latency of a request and returns the state.
    pub(super) async fn request(&self) -> MutexGuard<'_, S> {
        if !self.latency.is_zero() {
            self.clock.sleep(self.latency).await;
        }
        // Code that holds the lock does not panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The current time plus `delay`.
    pub(super) fn after(&self, delay: Duration) -> Timestamp {
        after(self.clock.now(), delay)
    }
}
