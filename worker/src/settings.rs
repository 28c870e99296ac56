//! The settings of a worker.

use std::net::SocketAddr;
use std::time::Duration;

use goldfleet_kinds::context::StepSettings;
use goldfleet_ports::clock::LONGEST_WAIT;

/// The settings of a worker. The program reads them from `[worker]` of the configuration.
#[derive(Debug, Clone)]
pub struct WorkerSettings {
    /// The name of this worker in leases and events.
    pub name: String,
    /// The maximum number of operations in flight.
    pub concurrency: usize,
    /// The duration of a lease without a heartbeat.
    pub lease: Duration,
    /// How long a received message stays invisible. The worker renews it after a third of this time. The expiry of the
    /// lease alone decides when another worker may claim the operation.
    pub visibility: Duration,
    /// The tolerated difference between the clocks of two machines. A step stops this long before its lease expires.
    pub clock_skew: Duration,
    /// The maximum number of failed attempts of an operation.
    pub max_attempts: u32,
    /// The wait before the second attempt. It doubles with each failure.
    pub retry_base: Duration,
    /// The maximum wait between attempts.
    pub retry_cap: Duration,
    /// The longest wait between two attempts that a process can ask for. A longer one comes from a wrong clock.
    pub longest_wait: Duration,
    /// The maximum wait between two polls of empty queues.
    pub poll: Duration,
    /// The settings of steps, with the time between heartbeats. The progress in a row is at most this old.
    pub steps: StepSettings,
    /// Whether to stop once all queues are empty.
    pub exit_when_idle: bool,
    /// The address on which the process serves health and metrics. None if it does not listen.
    pub listen: Option<SocketAddr>,
}

impl WorkerSettings {
    /// How long a received message stays invisible. With a renewal every 20 s, 10,000 running operations need 500 of
    /// the 2,000 messages that a queue handles per second.
    pub const VISIBILITY: Duration = Duration::from_secs(60);

    /// The heartbeat for a lease duration: a third of it, and at most five seconds, so that other operations soon see
    /// new chunks of a store that is being filled.
    #[must_use]
    pub fn heartbeat_for(lease: Duration) -> Duration {
        (lease / 3).min(Duration::from_secs(5))
    }

    /// The tolerated clock difference for a lease duration: a tenth of it.
    #[must_use]
    pub fn skew_for(lease: Duration) -> Duration {
        lease / 10
    }
}

impl Default for WorkerSettings {
    fn default() -> Self {
        let lease = Duration::from_secs(20);
        Self {
            name: format!("worker-{}", std::process::id()),
            concurrency: 32,
            lease,
            visibility: Self::VISIBILITY,
            clock_skew: Self::skew_for(lease),
            max_attempts: 8,
            retry_base: Duration::from_secs(1),
            retry_cap: Duration::from_secs(300),
            longest_wait: LONGEST_WAIT,
            poll: Duration::from_millis(250),
            steps: StepSettings::default(),
            exit_when_idle: false,
            listen: None,
        }
    }
}
