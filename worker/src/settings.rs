//! How a worker works.

use std::net::SocketAddr;
use std::time::Duration;

use goldfleet_kinds::context::StepSettings;
use goldfleet_model::image::StorageType;

/// A worker's settings; the program takes them from `[worker]` of the configuration.
#[derive(Debug, Clone)]
pub struct WorkerSettings {
    /// Who this worker is, in leases and the events log.
    pub name: String,
    /// Operations in flight.
    pub concurrency: usize,
    /// How long a lease lasts without a heartbeat.
    pub lease: Duration,
    /// How far the clocks of two machines may be apart: a step stops this long before its lease ends.
    pub clock_skew: Duration,
    /// The time between heartbeats; progress on the row is at most this old.
    pub heartbeat: Duration,
    /// How often an operation may fail before it is given up.
    pub max_attempts: u32,
    /// The wait before the second attempt; it doubles.
    pub retry_base: Duration,
    /// The longest wait between attempts.
    pub retry_cap: Duration,
    /// The longest wait between two looks at empty queues.
    pub poll: Duration,
    /// Requests in flight for one copy.
    pub chunk_requests: usize,
    /// Requests in flight for one seed: seeds are few, all copies of their region wait for them, and their requests take
    /// longer, as they cross the WAN.
    pub seed_requests: usize,
    /// Requests in flight in the process.
    pub requests: usize,
    /// Whether chunks come from the next nearest store where a store is slow or keeps failing.
    pub detours: bool,
    /// Whether a copy begins as a copy of an earlier version's VHD, inside the staging account. No checksum proves what the
    /// service copies so: the worker reads back every byte that it does not write.
    pub clone_and_patch: bool,
    /// From which age on a chunk that is relied on is renewed, so that no clean-up takes it for abandoned.
    pub renew_after: Duration,
    /// The storage of images' disks.
    pub storage_type: StorageType,
    /// Whether to stop once all queues are empty.
    pub exit_when_idle: bool,
    /// Where the process tells how it fares; nowhere, where none is given.
    pub listen: Option<SocketAddr>,
}

impl WorkerSettings {
    /// The part of the settings that steps need.
    #[must_use]
    pub fn steps(&self) -> StepSettings {
        StepSettings {
            heartbeat: self.heartbeat,
            chunk_requests: self.chunk_requests,
            seed_requests: self.seed_requests,
            requests: self.requests,
            detours: self.detours,
            clone_and_patch: self.clone_and_patch,
            renew_after: self.renew_after,
            storage_type: self.storage_type,
        }
    }

    /// The beat that suits a lease: three in its time, and at least one every five seconds, so that stores that are
    /// being filled can be read by others soon.
    #[must_use]
    pub fn heartbeat_for(lease: Duration) -> Duration {
        (lease / 3).min(Duration::from_secs(5))
    }

    /// The clock difference that suits a lease: a tenth of it.
    #[must_use]
    pub fn skew_for(lease: Duration) -> Duration {
        lease / 10
    }
}

impl Default for WorkerSettings {
    fn default() -> Self {
        let lease = Duration::from_secs(60);
        Self {
            name: format!("worker-{}", std::process::id()),
            concurrency: 32,
            lease,
            clock_skew: Self::skew_for(lease),
            heartbeat: Self::heartbeat_for(lease),
            max_attempts: 8,
            retry_base: Duration::from_secs(1),
            retry_cap: Duration::from_secs(300),
            poll: Duration::from_millis(250),
            chunk_requests: 8,
            seed_requests: 16,
            requests: 256,
            detours: true,
            clone_and_patch: false,
            renew_after: Duration::from_secs(12 * 3600),
            storage_type: StorageType::default(),
            exit_when_idle: false,
            listen: None,
        }
    }
}
