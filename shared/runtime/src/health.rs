//! The state of a process for monitoring: liveness, readiness and metrics.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use goldfleet_ports::error::{DATABASE_GONE, PortError};

use crate::metrics::Metrics;

/// How late a tick may be before the process counts as stuck. A poll of cloud queues takes less, even with several
/// retries.
const TICK_GRACE: Duration = Duration::from_secs(60);

/// The health and the metrics of a process. Clones share the state.
#[derive(Clone, Default)]
pub struct Monitor {
    /// The metrics.
    pub metrics: Metrics,
    /// The health.
    pub health: Health,
}

/// The health of a process. Clones share the state.
#[derive(Clone, Default)]
pub struct Health(Arc<HealthState>);

#[derive(Default)]
struct HealthState {
    coordination_reached: AtomicBool,
    coordination_gone: AtomicBool,
    draining: AtomicBool,
    next_tick_by: Mutex<Option<Instant>>,
}

impl Health {
    /// Records that queues and tables have answered.
    pub fn coordination_reached(&self) {
        self.0.coordination_reached.store(true, Ordering::Relaxed);
        self.0.coordination_gone.store(false, Ordering::Relaxed);
    }

    /// Records that queues or tables could not be reached. If the database is gone, only a restart can help.
    pub fn coordination_failed(&self, error: &PortError) {
        self.0.coordination_reached.store(false, Ordering::Relaxed);
        self.0.coordination_gone.store(error.code == DATABASE_GONE, Ordering::Relaxed);
    }

    /// Records that the process takes no new work.
    pub fn set_draining(&self) {
        self.0.draining.store(true, Ordering::Relaxed);
    }

    /// Records that the main loop is running, and that the next tick follows within `wait`.
    pub fn tick(&self, wait: Duration) {
        self.tick_at(Instant::now() + wait + TICK_GRACE);
    }

    fn tick_at(&self, due: Instant) {
        *self.0.next_tick_by.lock().unwrap_or_else(PoisonError::into_inner) = Some(due);
    }

    /// Whether the process is alive. A process counts as alive before its first tick, and while it drains, because
    /// draining ends by itself. While a service cannot be reached it stays alive, because a restart would not help.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        let due = *self.0.next_tick_by.lock().unwrap_or_else(PoisonError::into_inner);
        let turns = self.0.draining.load(Ordering::Relaxed) || due.is_none_or(|due| Instant::now() < due);
        turns && !self.0.coordination_gone.load(Ordering::Relaxed)
    }

    /// Whether the process takes work.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.0.coordination_reached.load(Ordering::Relaxed)
            && !self.0.draining.load(Ordering::Relaxed)
            && self.is_alive()
    }
}

#[cfg(test)]
mod tests {
    use goldfleet_ports::error::ErrorKind;

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
        let failed = |code| PortError::new(ErrorKind::Unavailable, "no answer").with_code(code);
        health.coordination_failed(&failed("timeout"));
        assert!(health.is_alive() && !health.is_ready(), "a service does not answer");
        health.coordination_failed(&failed(DATABASE_GONE));
        assert!(!health.is_alive() && !health.is_ready(), "the database was removed");
        health.coordination_reached();
        assert!(health.is_ready());
        health.set_draining();
        health.tick_at(Instant::now());
        assert!(health.is_alive() && !health.is_ready(), "it drains");
    }
}
