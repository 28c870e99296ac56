//! A model of the cloud: blobs and managed images that store no bytes, but keep every rule and the pace of the real
//! ones, by the rates that plans are made with. In virtual time under the real dispatcher and workers, it tells in seconds how long a rollout
//! would take, and what would hold it up. `docs/model.md` says what it leaves out.
//!
//! - [`Model`] is the cloud; [`ModelledBlobs`] and [`ModelledImages`] are its ports.
//! - [`MemoryQueue`] and [`MemoryJobTable`] are the other two ports without a thread that blocks: virtual time passes
//!   when every task waits, and one that waits for a thread would make it jump.
//! - [`LimitMode`] is what it keeps to; [`Stats`] what it has counted.
//!
//! Nothing is left to chance but what a seed decides, so that two runs are the same to the event.

mod arm;
mod blob_store;
mod copy_blob;
mod errors;
mod extents;
mod image_plane;
mod job_table;
mod limits;
mod memory;
mod pipe;
mod queue;
mod state;
mod stats;
#[cfg(test)]
mod tests;
mod traffic;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use goldfleet_model::ids::{AccountName, Region, SubscriptionId};
use goldfleet_model::manifest::{ChunkEntry, Manifest};
use goldfleet_model::store::{BlobAddress, Container};
use goldfleet_ports::Ports;
use goldfleet_ports::clock::{Clock, elapsed};
use goldfleet_ports::error::PortResult;
use jiff::Timestamp;

pub use blob_store::ModelledBlobs;
pub use image_plane::ModelledImages;
pub use job_table::MemoryJobTable;
pub use limits::{Limit, LimitMode};
pub use queue::MemoryQueue;
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
    /// An empty cloud, whose clients are in the region `home`.
    #[must_use]
    pub fn new(pace: LimitMode, clock: Arc<dyn Clock>, home: &Region, seed: u64) -> Arc<Self> {
        let began = clock.now();
        Arc::new(Self { world: Mutex::new(CloudState::new(pace, home, seed)), clock, began })
    }

    /// Says where an account is and, where that matters, whose. Others are in the clients' region, and anyone's.
    pub fn place_account(&self, account: &AccountName, region: &Region, owner: Option<SubscriptionId>) {
        self.world().place_account(account, region, owner);
    }

    /// From a while after now on, whoever has a service read from an account waits for an answer that never comes, for as
    /// long as the adapter for Azure would.
    pub fn stall_source(&self, account: &AccountName, after: Duration) {
        let since = self.moment().saturating_add(nanos(after));
        self.world().stalled.insert(account.clone(), since);
    }

    /// Puts chunks into a store, at once, with nothing known of them but their checksums; those that are there stay.
    ///
    /// # Errors
    /// None: where there is no container it is made.
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

    /// Whether a VHD is, by its checksums, the whole disk of a manifest.
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

    /// The ports of a fleet that lives in this process, on this cloud.
    #[must_use]
    pub fn ports(self: &Arc<Self>) -> Ports {
        let clock = &self.clock;
        let latency = self.world().pace.queue_and_table();
        Ports {
            queue: Arc::new(MemoryQueue::new(Arc::clone(clock), latency)),
            table: Arc::new(MemoryJobTable::new(Arc::clone(clock), latency)),
            blobs: Arc::new(ModelledBlobs::new(Arc::clone(self))),
            images: Arc::new(ModelledImages::new(Arc::clone(self))),
            clock: Arc::clone(clock),
        }
    }

    /// What has been counted so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.world().stats()
    }

    /// Forgets what has been counted so far.
    pub fn reset_stats(&self) {
        self.world().reset_stats();
    }

    fn world(&self) -> MutexGuard<'_, CloudState> {
        // Where something panics while it holds the lock, that is a bug, and is seen where it panics.
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn moment(&self) -> SimNanos {
        nanos(elapsed(self.began, self.clock.now()))
    }

    /// Waits until a moment.
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
