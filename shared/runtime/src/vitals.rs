//! What a process tells of itself to those who watch it: whether it lives, whether it is ready, what it has counted.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::metrics::Metrics;

/// How late a turn may be before a process counts as stuck: a look at a cloud's queues that is tried again a few times
/// takes no longer.
const LATE: Duration = Duration::from_secs(60);

/// Health and metrics of a process. Clones tell the same.
#[derive(Clone, Default)]
pub struct Vitals {
    /// What it has counted.
    pub metrics: Metrics,
    /// How it fares.
    pub health: Health,
}

/// How a process fares. Clones tell the same.
#[derive(Clone, Default)]
pub struct Health(Arc<Signs>);

#[derive(Default)]
struct Signs {
    answered: AtomicBool,
    draining: AtomicBool,
    due: Mutex<Option<Instant>>,
}

impl Health {
    /// Queues and tables have answered.
    pub fn answered(&self) {
        self.0.answered.store(true, Ordering::Relaxed);
    }

    /// The process takes no new work.
    pub fn drains(&self) {
        self.0.draining.store(true, Ordering::Relaxed);
    }

    /// The loop that all work comes from turns, and will again within `wait`.
    pub fn turns(&self, wait: Duration) {
        self.turns_by(Instant::now() + wait + LATE);
    }

    fn turns_by(&self, due: Instant) {
        *self.0.due.lock().unwrap_or_else(PoisonError::into_inner) = Some(due);
    }

    /// Whether it lives. One that has not begun yet does, and so does one that drains: there is an end to that.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        let due = *self.0.due.lock().unwrap_or_else(PoisonError::into_inner);
        self.0.draining.load(Ordering::Relaxed) || due.is_none_or(|due| Instant::now() < due)
    }

    /// Whether it takes work.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.0.answered.load(Ordering::Relaxed) && !self.0.draining.load(Ordering::Relaxed) && self.is_alive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alive_while_it_turns_and_ready_while_it_takes_work() {
        let health = Health::default();
        assert!(health.is_alive() && !health.is_ready(), "nothing has answered yet");
        health.answered();
        assert!(health.is_ready());
        health.turns(Duration::ZERO);
        assert!(health.is_ready());
        health.turns_by(Instant::now());
        assert!(!health.is_alive() && !health.is_ready(), "it is stuck");
        health.turns(Duration::ZERO);
        health.drains();
        health.turns_by(Instant::now());
        assert!(health.is_alive() && !health.is_ready(), "it drains");
    }
}
