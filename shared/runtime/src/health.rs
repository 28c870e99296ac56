//! What a process tells of itself to those who watch it: whether it lives, whether it is ready, what it has counted.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::metrics::Metrics;

/// How late a turn may be before a process counts as stuck: a look at a cloud's queues that is tried again a few times
/// takes no longer.
const TICK_GRACE: Duration = Duration::from_secs(60);

/// Health and metrics of a process. Clones tell the same.
#[derive(Clone, Default)]
pub struct Monitor {
    /// What it has counted.
    pub metrics: Metrics,
    /// How it fares.
    pub health: Health,
}

/// How a process fares. Clones tell the same.
#[derive(Clone, Default)]
pub struct Health(Arc<HealthState>);

#[derive(Default)]
struct HealthState {
    coordination_reached: AtomicBool,
    draining: AtomicBool,
    next_tick_by: Mutex<Option<Instant>>,
}

impl Health {
    /// Queues and tables have answered.
    pub fn coordination_reached(&self) {
        self.0.coordination_reached.store(true, Ordering::Relaxed);
    }

    /// The process takes no new work.
    pub fn set_draining(&self) {
        self.0.draining.store(true, Ordering::Relaxed);
    }

    /// The loop that all work comes from turns, and will again within `wait`.
    pub fn tick(&self, wait: Duration) {
        self.tick_at(Instant::now() + wait + TICK_GRACE);
    }

    fn tick_at(&self, due: Instant) {
        *self.0.next_tick_by.lock().unwrap_or_else(PoisonError::into_inner) = Some(due);
    }

    /// Whether it lives. One that has not begun yet does, and so does one that drains: there is an end to that.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        let due = *self.0.next_tick_by.lock().unwrap_or_else(PoisonError::into_inner);
        self.0.draining.load(Ordering::Relaxed) || due.is_none_or(|due| Instant::now() < due)
    }

    /// Whether it takes work.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.0.coordination_reached.load(Ordering::Relaxed)
            && !self.0.draining.load(Ordering::Relaxed)
            && self.is_alive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn health_follows_ticks_and_draining() {
        let health = Health::default();
        assert!(health.is_alive() && !health.is_ready(), "nothing has answered yet");
        health.coordination_reached();
        assert!(health.is_ready());
        health.tick(Duration::ZERO);
        assert!(health.is_ready());
        health.tick_at(Instant::now());
        assert!(!health.is_alive() && !health.is_ready(), "it is stuck");
        health.tick(Duration::ZERO);
        health.set_draining();
        health.tick_at(Instant::now());
        assert!(health.is_alive() && !health.is_ready(), "it drains");
    }
}
