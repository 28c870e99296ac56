//! The conformance suites of the ports, without limits and with limits.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use goldfleet_model::ids::SubscriptionId;
use goldfleet_ports::clock::{Clock, TokioClock};
use goldfleet_ports::conformance;
use goldfleet_ports::conformance::clock::{Advance, ManualClock};
use goldfleet_ports::conformance::image_plane::ImageSuiteLocation;
use goldfleet_rates::Rates;
use jiff::Timestamp;

use crate::{LimitMode, MemoryJobTable, MemoryQueue, Model, ModelledBlobs, ModelledImages};

/// A clock that advances by itself while tokio's time is paused.
struct VirtualTime;

#[async_trait]
impl Advance for VirtualTime {
    async fn elapse(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

fn limited() -> LimitMode {
    LimitMode::Limited(Box::new(Rates::built_in().unwrap()))
}

fn virtual_clock() -> Arc<dyn Clock> {
    Arc::new(TokioClock::starting_at(Timestamp::UNIX_EPOCH))
}

fn model(pace: LimitMode, clock: Arc<dyn Clock>) -> Arc<Model> {
    Model::new(pace, clock, &"westeurope".parse().unwrap(), 1)
}

async fn blobs(model: &Arc<Model>) {
    let container = serde_json::from_str(r#"{ "account": "gold", "container": "suite" }"#).unwrap();
    conformance::blob_store::all(&ModelledBlobs::new(Arc::clone(model)), &container).await;
}

async fn images(model: &Arc<Model>) {
    use goldfleet_ports::blob_store::BlobStore as _;
    let site: ImageSuiteLocation = ImageSuiteLocation {
        subscription: SubscriptionId::nth_for_tests(1),
        resource_group: "images".parse().unwrap(),
        region: "eastus".parse().unwrap(),
        container: serde_json::from_str(r#"{ "account": "stage", "container": "vhds" }"#).unwrap(),
    };
    model.place_account(&site.container.account, &site.region, Some(site.subscription));
    let blobs = ModelledBlobs::new(Arc::clone(model));
    blobs.ensure_container(&site.container).await.unwrap();
    conformance::image_plane::all(&ModelledImages::new(Arc::clone(model)), &blobs, &site).await;
}

#[tokio::test]
async fn blobs_conform_unlimited() {
    blobs(&model(LimitMode::Unlimited, Arc::new(ManualClock::at(Timestamp::UNIX_EPOCH)))).await;
}

#[tokio::test(start_paused = true)]
async fn blobs_conform_with_limits() {
    blobs(&model(limited(), virtual_clock())).await;
}

#[tokio::test]
async fn images_conform_unlimited() {
    images(&model(LimitMode::Unlimited, Arc::new(ManualClock::at(Timestamp::UNIX_EPOCH)))).await;
}

#[tokio::test(start_paused = true)]
async fn images_conform_with_limits() {
    images(&model(limited(), virtual_clock())).await;
}

#[tokio::test]
async fn queues_conform_with_manual_clock() {
    let clock = ManualClock::at(Timestamp::UNIX_EPOCH);
    let queue = MemoryQueue::new(Arc::new(clock.clone()), Duration::ZERO);
    conformance::queue::all(&queue, &clock).await;
}

#[tokio::test(start_paused = true)]
async fn queues_conform_in_virtual_time() {
    let queue = MemoryQueue::new(virtual_clock(), Duration::from_millis(10));
    conformance::queue::all(&queue, &VirtualTime).await;
}

#[tokio::test]
async fn job_table_conforms() {
    let clock = ManualClock::at(Timestamp::UNIX_EPOCH);
    conformance::job_table::all(&MemoryJobTable::new(Arc::new(clock), Duration::ZERO)).await;
}

#[tokio::test(start_paused = true)]
async fn job_table_conforms_in_virtual_time() {
    conformance::job_table::all(&MemoryJobTable::new(virtual_clock(), Duration::from_millis(10))).await;
}
