//! Killed processes, a lease without a worker, and the other tool.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use goldfleet_kinds::lease::{Lease, StopReason};
use goldfleet_model::chunk_set::ChunkSet;
use goldfleet_model::document::Document;
use goldfleet_model::operation::TransferProgress;
use goldfleet_model::resource::{ResourceBody, TargetRegion};
use goldfleet_ports::error::PortResult;
use goldfleet_tests::intercept::{Call, Interceptor};
use rand::{Rng as _, rngs::StdRng};
use tokio::sync::Notify;
use uuid::Uuid;

/// The region that the other tool adds.
pub(super) const FOREIGN: &str = "brazilsouth";

/// Kills its caller at a chosen call, before or after the call has its effect.
pub(super) struct Killer {
    left: AtomicUsize,
    after_effect: bool,
    reached: Notify,
}

impl Killer {
    pub(super) fn at(call: usize, after_effect: bool) -> Arc<Self> {
        Arc::new(Self { left: AtomicUsize::new(call + 1), after_effect, reached: Notify::new() })
    }

    pub(super) async fn reached(&self) {
        self.reached.notified().await;
    }
}

impl Interceptor for Killer {
    async fn call<T: Send + 'static>(&self, call: Call<'_, T>) -> PortResult<T> {
        if self.left.fetch_sub(1, Ordering::SeqCst) != 1 {
            return call.make.await;
        }
        if self.after_effect {
            drop(call.make.await);
        }
        self.reached.notify_one();
        std::future::pending().await
    }
}

/// A lease that is never lost. It keeps the output for the next attempt.
#[derive(Default)]
pub(super) struct FreeLease(pub(super) Mutex<Option<Document>>);

#[async_trait]
impl Lease for FreeLease {
    fn ensure_held(&self) -> Result<(), StopReason> {
        Ok(())
    }

    async fn stop_requested(&self, _reasons: &[StopReason]) -> StopReason {
        std::future::pending().await
    }

    fn progress(&self) -> TransferProgress {
        TransferProgress::default()
    }

    fn set_progress(&self, _incarnation: Option<Uuid>, _done: ChunkSet, _bytes: u64, _total: u64) {}

    fn record_chunk(&self, _chunk: u32, _bytes: u64) {}

    fn add_bytes_moved(&self, _bytes: u64) {}

    async fn put_output(&self, output: Document) -> Result<(), StopReason> {
        *self.0.lock().unwrap() = Some(output);
        Ok(())
    }
}

/// Another tool that gets the regions, appends its own one, and puts them.
#[derive(Default)]
pub(super) struct OtherTool {
    read: Option<ResourceBody>,
}

impl OtherTool {
    /// Reads the version. It may write it much later.
    pub(super) fn read(&mut self, found: ResourceBody) {
        self.read = Some(found);
    }

    /// The body that it writes now, if it has read one: with its own region, and sometimes without one of ours.
    pub(super) fn body(&mut self, home: &str, rng: &mut StdRng) -> Option<ResourceBody> {
        let mut body = self.read.take()?;
        let profile = body.properties.gallery_version_mut()?.publishing_profile.as_mut()?;
        let others: Vec<usize> =
            (0..profile.target_regions.len()).filter(|at| profile.target_regions[*at].name != home).collect();
        if !others.is_empty() && rng.random_bool(0.5) {
            profile.target_regions.remove(others[rng.random_range(0..others.len())]);
        }
        if profile.target_regions.iter().all(|region| region.name != FOREIGN) {
            profile.target_regions.push(TargetRegion { name: FOREIGN.to_owned(), ..TargetRegion::default() });
        }
        Some(body)
    }
}
