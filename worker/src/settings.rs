//! The settings of a worker.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use goldfleet_kinds::context::StepSettings;
use goldfleet_model::image::StorageType;

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
    /// The time between heartbeats. The progress in the row is at most this old.
    pub heartbeat: Duration,
    /// The maximum number of failed attempts of an operation.
    pub max_attempts: u32,
    /// The wait before the second attempt. It doubles with each failure.
    pub retry_base: Duration,
    /// The maximum wait between attempts.
    pub retry_cap: Duration,
    /// The maximum wait between two polls of empty queues.
    pub poll: Duration,
    /// The maximum number of requests in flight of one `copy` operation.
    pub chunk_requests: usize,
    /// The maximum number of requests in flight of one `seed` operation. There are few of them, all `copy` operations
    /// of their region wait for them, and their requests take longer because they cross the WAN.
    pub seed_requests: usize,
    /// The maximum number of requests in flight in the process.
    pub requests: usize,
    /// Whether chunks are read from the next nearest store if a store is slow or keeps failing.
    pub detours: bool,
    /// Whether an assembly starts with a clone of an earlier version's VHD inside the staging account. No checksum
    /// proves what the service clones, so the worker reads back every byte that it does not write.
    pub clone_and_patch: bool,
    /// The age from which a chunk that a job needs is renewed, so that garbage collection does not delete it.
    pub renew_after: Duration,
    /// The storage type of the disks of images.
    pub storage_type: StorageType,
    /// Further tags of each image.
    pub image_tags: BTreeMap<String, String>,
    /// Whether to stop once all queues are empty.
    pub exit_when_idle: bool,
    /// The address on which the process serves health and metrics. None if it does not listen.
    pub listen: Option<SocketAddr>,
}

impl WorkerSettings {
    /// How long a received message stays invisible. With a renewal every 20 s, 10,000 running operations need 500 of
    /// the 2,000 messages that a queue handles per second.
    pub const VISIBILITY: Duration = Duration::from_secs(60);

    /// The settings of steps.
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
            image_tags: self.image_tags.clone(),
        }
    }

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
            image_tags: BTreeMap::new(),
            exit_when_idle: false,
            listen: None,
        }
    }
}
