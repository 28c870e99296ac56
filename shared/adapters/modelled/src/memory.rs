//! What queues and tables in memory share: a state behind a lock, and a time that each request to it takes.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use goldfleet_ports::clock::{Clock, after};
use jiff::Timestamp;

/// A state in memory. No thread is ever blocked for the time that a request takes, so that virtual time works.
pub(super) struct InMemory<S> {
    clock: Arc<dyn Clock>,
    latency: Duration,
    state: Mutex<S>,
}

impl<S: Default> InMemory<S> {
    /// An empty state, each request to which takes `latency` by this clock.
    pub(super) fn new(clock: Arc<dyn Clock>, latency: Duration) -> Self {
        Self { clock, latency, state: Mutex::default() }
    }
}

impl<S> InMemory<S> {
    /// The state, once a request has got to it.
    pub(super) async fn request(&self) -> MutexGuard<'_, S> {
        if !self.latency.is_zero() {
            self.clock.sleep(self.latency).await;
        }
        // Nothing panics while it holds the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The time after `delay`, from now on.
    pub(super) fn after(&self, delay: Duration) -> Timestamp {
        after(self.clock.now(), delay)
    }
}
