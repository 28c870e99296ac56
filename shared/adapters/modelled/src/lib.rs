//! A model of the cloud: blobs, managed images, disks and snapshots that store no bytes but apply every rule of the
//! real services and, with the rates of the planner, their speed. With the real dispatcher and workers in virtual time
//! it computes in seconds how long a rollout would take and which limits would slow it down. `docs/model.md` lists what
//! the model omits.
//!
//! - [`Model`] is the cloud; [`ModelledBlobs`] and [`ModelledResources`] are its ports.
//! - [`MemoryQueue`] and [`MemoryJobTable`] are the ports of a coordination. They block no thread: virtual time
//!   advances when every task waits, so it would jump while a task waits for a thread.
//! - [`LimitMode`] selects the limits; [`Stats`] are the counters.
//!
//! The model is deterministic: two runs with the same seed have the same events.

mod arm;
mod blob_store;
mod copy_blob;
mod errors;
mod extents;
mod job_table;
mod limits;
mod memory;
mod pipe;
mod queue;
mod records;
mod resources;
mod state;
mod stats;
#[cfg(test)]
mod tests;
mod traffic;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use goldfleet_model::ids::{AccountName, Region, SubscriptionId};
use goldfleet_model::manifest::{ChunkEntry, Manifest};
use goldfleet_model::resource::ResourceId;
use goldfleet_model::store::{BlobAddress, Container};
use goldfleet_ports::Ports;
use goldfleet_ports::clock::{Clock, elapsed};
use goldfleet_ports::error::PortResult;
use goldfleet_ports::liveness::Undetected;
use jiff::Timestamp;

pub use blob_store::ModelledBlobs;
pub use job_table::MemoryJobTable;
pub use limits::{Limit, LimitMode};
pub use queue::MemoryQueue;
pub use resources::{ModelledResources, Replication};
pub use stats::{AccountStats, Busiest, LinkStats, Stats};

use extents::{Extents, Piece};
use pipe::{SimNanos, nanos};
use state::{CloudState, NewBlob};
use traffic::RequestEnd;

/// A modelled cloud.
pub struct Model {
    world: Mutex<CloudState>,
    clock: Arc<dyn Clock>,
    began: Timestamp,
}

impl Model {
    /// Creates an empty cloud with clients in the region `home`.
    #[must_use]
    pub fn new(pace: LimitMode, clock: Arc<dyn Clock>, home: &Region, seed: u64) -> Arc<Self> {
        let began = clock.now();
        Arc::new(Self { world: Mutex::new(CloudState::new(pace, home, seed)), clock, began })
    }

    /// Sets the region of an account and, if needed, its subscription. Other accounts are in the region of the clients
    /// and belong to any subscription.
    pub fn place_account(&self, account: &AccountName, region: &Region, owner: Option<SubscriptionId>) {
        self.world().place_account(account, region, owner);
    }

    /// After the delay `after`, a request in which a service reads from this account gets no response. It waits for as
    /// long as the Azure adapter would wait.
    pub fn stall_source(&self, account: &AccountName, after: Duration) {
        let since = self.moment().saturating_add(nanos(after));
        self.world().stalled.insert(account.clone(), since);
    }

    /// Adds chunks with their checksums to a store. This takes no time, and existing chunks remain.
    ///
    /// # Errors
    /// Never fails: a missing container is created.
    pub fn put_chunks<'a>(
        &self,
        store: &Container,
        chunks: impl IntoIterator<Item = &'a ChunkEntry>,
    ) -> PortResult<()> {
        let now = self.now();
        let mut world = self.world();
        world.ensure_container(store);
        for chunk in chunks {
            let address = store.chunk(&chunk.hash);
            if world.find(&address).is_some() {
                continue;
            }
            let mut content = Extents::default();
            for run in &chunk.runs {
                content.insert(run.at.into(), run.length.into(), Piece::Checksum(run.crc64));
            }
            let made = NewBlob { length: chunk.length.into(), content: Arc::new(content), ..NewBlob::default() };
            world.add(&address, made, now)?;
        }
        Ok(())
    }

    /// Whether a VHD contains, according to its checksums, the whole disk of a manifest.
    #[must_use]
    pub fn is_whole(&self, vhd: &BlobAddress, manifest: &Manifest) -> bool {
        let world = self.world();
        let Some(blob) = world.find(vhd).and_then(|id| world.blob(id)) else { return false };
        let footer = manifest.footer_range();
        let mut runs = manifest.chunks.iter().flat_map(|chunk| &chunk.runs);
        let written: u64 = blob.content.ranges().iter().map(|range| range.end - range.start).sum();
        blob.length == footer.end
            && written == manifest.data_bytes() + manifest.footer.len() as u64
            && runs.all(|run| {
                let range = run.range();
                blob.content.crc64(&range) == Some(run.crc64)
            })
            && blob.content.bytes(&footer).is_some_and(|found| found[..] == manifest.footer[..])
    }

    /// Whether a disk or snapshot contains, according to its checksums, the whole disk of a manifest.
    #[must_use]
    pub fn is_whole_disk(&self, id: &ResourceId, manifest: &Manifest) -> bool {
        self.world().arm.content(id).is_some_and(|content| {
            let written: u64 = content.ranges().iter().map(|range| range.end - range.start).sum();
            let mut runs = manifest.chunks.iter().flat_map(|chunk| &chunk.runs);
            written == manifest.data_bytes() && runs.all(|run| content.crc64(&run.range()) == Some(run.crc64))
        })
    }

    /// The ports of a fleet in this process that uses this cloud.
    #[must_use]
    pub fn ports(self: &Arc<Self>) -> Ports {
        let clock = &self.clock;
        let latency = self.world().pace.queue_and_table();
        let resources = Arc::new(ModelledResources::new(Arc::clone(self)));
        let table = Arc::new(MemoryJobTable::new(Arc::clone(clock), latency));
        Ports {
            queue: Arc::new(MemoryQueue::new(Arc::clone(clock), latency)),
            table: table.clone(),
            records: table,
            blobs: Arc::new(ModelledBlobs::new(Arc::clone(self))),
            resources: resources.clone(),
            locks: resources.clone(),
            disk_access: resources.clone(),
            disk_pages: resources,
            liveness: Arc::new(Undetected),
            clock: Arc::clone(clock),
            longest_wait: Duration::MAX,
        }
    }

    /// The current counters.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.world().stats()
    }

    /// Resets the counters.
    pub fn reset_stats(&self) {
        self.world().reset_stats();
    }

    fn world(&self) -> MutexGuard<'_, CloudState> {
        // A panic while the lock is held is a bug and is reported where it occurs.
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn moment(&self) -> SimNanos {
        nanos(elapsed(self.began, self.clock.now()))
    }

    /// Waits until a point in time.
    async fn wait_until(&self, until: SimNanos) {
        let now = self.moment();
        if until > now {
            self.clock.sleep(Duration::from_nanos(until - now)).await;
        }
    }

    /// Begins a request and waits for its end.
    async fn run_request<T>(&self, begin: impl FnOnce(&mut CloudState, SimNanos) -> RequestEnd<T>) -> PortResult<T> {
        let now = self.moment();
        let (until, checked) = begin(&mut self.world(), now);
        self.wait_until(until).await;
        checked
    }
}
