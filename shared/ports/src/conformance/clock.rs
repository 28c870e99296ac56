//! The time of the suites. If the clock of the adapter is injected, a test advances it; the time of a real service
//! passes by itself.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::sync::watch;

use crate::clock::{Clock, after};

/// Makes time pass.
#[async_trait]
pub trait Advance: Sync {
    /// Returns when at least `duration` has passed for the adapter.
    async fn elapse(&self, duration: Duration);
}

/// A clock that only changes when it is advanced. Clones share one time.
#[derive(Debug, Clone)]
pub struct ManualClock {
    now: Arc<Mutex<Timestamp>>,
    moved: Arc<watch::Sender<()>>,
}

impl ManualClock {
    /// Creates a clock whose present time is `now`.
    #[must_use]
    pub fn at(now: Timestamp) -> Self {
        Self { now: Arc::new(Mutex::new(now)), moved: Arc::new(watch::Sender::new(())) }
    }

    /// Advances the clock and wakes the tasks whose wait has ended.
    pub fn advance(&self, duration: Duration) {
        {
            let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
            *now = after(*now, duration);
        }
        self.moved.send_replace(());
    }
}

#[async_trait]
impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        *self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns after the clock was advanced by `duration`.
    async fn sleep(&self, duration: Duration) {
        let until = after(self.now(), duration);
        let mut moved = self.moved.subscribe();
        while self.now() < until {
            if moved.changed().await.is_err() {
                return;
            }
        }
    }
}

#[async_trait]
impl Advance for ManualClock {
    async fn elapse(&self, duration: Duration) {
        self.advance(duration);
    }
}

/// The time of a service, which passes by itself.
#[derive(Debug, Clone, Copy)]
pub struct RealTime;

#[async_trait]
impl Advance for RealTime {
    async fn elapse(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}
