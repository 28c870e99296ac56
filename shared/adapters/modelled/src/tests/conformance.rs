//! The conformance suites of the ports, without limits and with limits.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use goldfleet_model::checksum::crc64;
use goldfleet_model::ids::SubscriptionId;
use goldfleet_model::job::Job;
use goldfleet_model::operation::Operation;
use goldfleet_model::resource::{LockLevel, ResourceId};
use goldfleet_model::upload::Upload;
use goldfleet_ports::clock::{Clock, TokioClock};
use goldfleet_ports::conformance;
use goldfleet_ports::conformance::clock::{Advance, ManualClock};
use goldfleet_ports::conformance::job_table::DamageRows;
use goldfleet_ports::conformance::resources::{
    DiskWriter, ForeignLocks, LockPorts, ResourceSuite, ResourceSuiteLocation,
};
use goldfleet_ports::conformance::resources::{PagePorts, SOURCE_LENGTH};
use goldfleet_ports::listing::RowName;
use goldfleet_rates::Rates;
use jiff::Timestamp;

use crate::{LimitMode, MemoryJobTable, MemoryQueue, Model, ModelledBlobs, ModelledResources};

/// A clock that advances by itself while tokio's time is paused.
struct VirtualTime;

#[async_trait]
impl Advance for VirtualTime {
    async fn elapse(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

/// The locks of others.
struct Others(Arc<Model>);

#[async_trait]
impl ForeignLocks for Others {
    async fn put(&self, scope: &str, name: &str, level: LockLevel) {
        self.0.put_lock_at(scope, name, level);
    }

    async fn remove(&self, scope: &str, name: &str) {
        self.0.remove_lock_at(scope, name);
    }
}

/// Writes the contents of disks.
struct Writer(Arc<Model>);

impl DiskWriter for Writer {
    fn write(&self, id: &ResourceId, offset: u64, bytes: Bytes) {
        self.0.put_disk_content(id, offset, bytes).unwrap();
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

async fn resources(model: &Arc<Model>, time: &(dyn Advance + Sync)) {
    use goldfleet_ports::blob_store::BlobStore as _;
    let location = ResourceSuiteLocation {
        subscription: SubscriptionId::nth_for_tests(1),
        resource_group: "images".parse().unwrap(),
        other_group: "other".parse().unwrap(),
        region: "eastus".parse().unwrap(),
        other_region: "westeurope".parse().unwrap(),
        container: serde_json::from_str(r#"{ "account": "stage", "container": "vhds" }"#).unwrap(),
    };
    model.place_account(&location.container.account, &location.region, Some(location.subscription));
    let blobs = ModelledBlobs::new(Arc::clone(model));
    blobs.ensure_container(&location.container).await.unwrap();
    let resources = ModelledResources::new(Arc::clone(model));
    let suite = ResourceSuite { resources: &resources, access: &resources, blobs: &blobs, location: &location };
    suite.all().await;
    suite.content_of_disks(&Writer(Arc::clone(model))).await;
    suite.expired_access_reads_nothing(time).await;
    suite.locks(LockPorts { locks: &resources, foreign: &Others(Arc::clone(model)) }).await;
    let (blob, bytes) = (location.container.blob("chunks/one"), Bytes::from(vec![7; SOURCE_LENGTH]));
    blobs.put_blob(&blob, bytes.clone(), crc64(&bytes).into()).await.unwrap();
    suite.pages_of_disks(PagePorts { pages: &resources, blob: &blob, bytes: &bytes }).await;
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
async fn resources_conform_unlimited() {
    let clock = ManualClock::at(Timestamp::UNIX_EPOCH);
    resources(&model(LimitMode::Unlimited, Arc::new(clock.clone())), &clock).await;
}

#[tokio::test(start_paused = true)]
async fn resources_conform_with_limits() {
    resources(&model(limited(), virtual_clock()), &VirtualTime).await;
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

#[async_trait]
impl DamageRows for MemoryJobTable {
    async fn replace_body(&self, row: &RowName, body: &str) {
        let parsed = match row {
            RowName::Job(_) => serde_json::from_str::<Job>(body).map(drop),
            RowName::Operation(..) => serde_json::from_str::<Operation>(body).map(drop),
            RowName::Upload(_) => serde_json::from_str::<Upload>(body).map(drop),
        };
        self.damage(row, parsed.err().map(|error| error.to_string())).await;
    }
}

#[tokio::test]
async fn job_table_conforms() {
    let clock = ManualClock::at(Timestamp::UNIX_EPOCH);
    let table = MemoryJobTable::new(Arc::new(clock), Duration::ZERO);
    conformance::job_table::all(&table, &table).await;
}

#[tokio::test]
async fn records_conform() {
    let table = MemoryJobTable::new(Arc::new(ManualClock::at(Timestamp::UNIX_EPOCH)), Duration::ZERO);
    conformance::records::all(&table, &table).await;
}

#[tokio::test(start_paused = true)]
async fn job_table_conforms_in_virtual_time() {
    let table = MemoryJobTable::new(virtual_clock(), Duration::from_millis(10));
    conformance::job_table::all(&table, &table).await;
}
