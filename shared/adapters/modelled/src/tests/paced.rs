//! Compares modelled times with times that were computed by hand.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use goldfleet_model::ids::SubscriptionId;
use goldfleet_model::manifest::{ChunkEntry, ChunkHash, Md5Sum, Run};
use goldfleet_model::resource::{
    CreationData, DiskProperties, Properties, ResourceBody, ResourceId, ResourceType, SnapshotProperties,
};
use goldfleet_model::store::{BlobAddress, Container};
use goldfleet_ports::blob_store::{BlobStore, Checksums, Fence, SourceRange};
use goldfleet_ports::clock::TokioClock;
use goldfleet_ports::disk_access::{Access, AccessRequest, AccessStatus, DiskAccess};
use goldfleet_ports::disk_content::DiskContent;
use goldfleet_ports::disk_pages::{DiskPages, PageSource};
use goldfleet_ports::error::{ErrorKind, PortResult};
use goldfleet_ports::resources::{ChangeStatus, Provisioning, PutMode, PutRequest, ResourceService, wait_until_done};
use goldfleet_rates::Rates;
use jiff::Timestamp;
use tokio::time::Instant;

use crate::{Limit, LimitMode, Model, ModelledBlobs, ModelledResources};

const MIB: u64 = 1 << 20;
const CHUNK: u64 = 4 * MIB;

/// Limits with round numbers and no latency: 4 MiB a second into a page blob, 32 MiB a second in and 16 MiB a second
/// out of an account, 8 MiB a second between regions. One request between regions gets at most 2 MiB a second of that.
const LIMITS: &str = r#"
    wan.gbit_per_second = 0.067108864
    blob = { page_blob_mib_per_second = 4, requests_per_second = 10 }
    accounts.large = { ingress_gbit_per_second = 0.268435456, egress_gbit_per_second = 0.134217728 }
    accounts.other = { ingress_gbit_per_second = 0.268435456, egress_gbit_per_second = 0.134217728 }
    latency = { inside_region_ms = 0, same_continent_ms = 0, other_continent_ms = 0, request_ms = 0, pair = [] }
    stream.mb_per_second = 2.097152
    server_busy = { behind_seconds = 2, retry_after_seconds = 1 }
    resource_manager = { write_burst = 2, writes_per_second = 0.5, read_burst = 3, reads_per_second = 1 }
    control = { resource_manager_ms = 0 }
"#;

struct Cloud {
    model: Arc<Model>,
    blobs: ModelledBlobs,
}

impl Cloud {
    fn new(more: &str) -> Self {
        let mut limits: toml::Table = LIMITS.parse().unwrap();
        for (section, value) in more.parse::<toml::Table>().unwrap() {
            let table = limits.entry(section).or_insert_with(|| toml::Table::new().into()).as_table_mut().unwrap();
            table.extend(value.as_table().unwrap().clone());
        }
        for section in limits.iter_mut().filter_map(|(_, section)| section.as_table_mut()) {
            section.extend(["date", "source"].map(|mark| (mark.to_owned(), "made up".into())));
        }
        let limits = Rates::over_built_in(Path::new("test"), &limits.to_string()).unwrap();
        let clock = Arc::new(TokioClock::starting_at(Timestamp::UNIX_EPOCH));
        let model = Model::new(LimitMode::Limited(Box::new(limits)), clock, &"westeurope".parse().unwrap(), 1);
        for (account, region) in [("source", "westeurope"), ("near", "westeurope"), ("far", "eastus")] {
            model.place_account(&account.parse().unwrap(), &region.parse().unwrap(), None);
        }
        let cloud = Self { blobs: ModelledBlobs::new(Arc::clone(&model)), model };
        cloud.model.put_chunks(&container("source"), (0..64).map(chunk).collect::<Vec<_>>().iter()).unwrap();
        cloud
    }

    /// Creates a page blob for 64 chunks. Takes no time.
    fn page_blob(&self, account: &str, name: &str) -> BlobAddress {
        let blob = container(account).blob(name);
        self.model.world().ensure_container(&blob.container);
        let made = crate::NewBlob { length: 64 * CHUNK, is_page_blob: true, ..Default::default() };
        self.model.add(&blob, made).unwrap();
        blob
    }

    /// Copies one of the source's chunks into a page blob.
    async fn page(&self, to: &BlobAddress, n: u32) -> PortResult<()> {
        let offset = u64::from(n) * CHUNK;
        // This fence is newer than any other. Other tests cover fences.
        self.blobs.put_pages_from(to, Fence(u64::MAX), offset, &source(&container("source"), n)).await
    }

    /// Copies one of the source's chunks into a store.
    async fn block(&self, to: &str, n: u32) -> PortResult<()> {
        self.model.world().ensure_container(&container(to));
        let blob = container(to).chunk(&chunk(n).hash);
        self.blobs.put_blob_from(&blob, &source(&container("source"), n)).await
    }
}

fn container(account: &str) -> Container {
    Container { account: account.parse().unwrap(), container: "golden".parse().unwrap() }
}

fn chunk(n: u32) -> ChunkEntry {
    let length = u32::try_from(CHUNK).unwrap();
    let run = Run { offset: u64::from(n) * CHUNK, length, at: 0, crc64: n.into(), md5: Md5Sum::of(&n.to_be_bytes()) };
    ChunkEntry { hash: ChunkHash::of(&n.to_be_bytes()), length: run.length, runs: vec![run] }
}

fn source(store: &Container, n: u32) -> SourceRange {
    let chunk = chunk(n);
    SourceRange { blob: store.chunk(&chunk.hash), range: 0..CHUNK, crc64: n.into(), md5: chunk.md5() }
}

fn seconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64()
}

#[track_caller]
fn assert_took(since: Instant, expected: f64) {
    // tokio's timers have a resolution of one millisecond.
    assert!((seconds(since) - expected).abs() < 0.005, "{} s, not {expected} s", seconds(since));
}

#[tokio::test(start_paused = true)]
async fn copy_time_is_page_blob_rate_plus_latency() {
    let cloud = Cloud::new("latency = { inside_region_ms = 100, request_ms = 50 }");
    let blob = cloud.page_blob("near", "one");
    let began = Instant::now();
    for n in 0..4 {
        cloud.page(&blob, n).await.unwrap();
    }
    // For each request: 4 MiB at 4 MiB/s, 50 ms for the request, 100 ms for the round trip to the account, and 100 ms
    // for the round trip from there to the source.
    assert_took(began, 4.0 * 1.25);
}

#[tokio::test(start_paused = true)]
async fn concurrent_requests_hide_latency() {
    let cloud = Cloud::new("latency = { inside_region_ms = 100, request_ms = 50 }");
    let blob = cloud.page_blob("near", "one");
    let began = Instant::now();
    for pair in [[0, 1], [2, 3]] {
        for copied in join_all(pair.map(|n| cloud.page(&blob, n))).await {
            copied.unwrap();
        }
    }
    assert_took(began, 2.0 * 2.25);
}

#[tokio::test(start_paused = true)]
async fn page_blob_rate_is_shared_by_readers() {
    let cloud = Cloud::new("");
    let source = container("source").blob("golden.vhd");
    cloud.model.put_page_blob(&source, 128 * MIB).unwrap();
    let began = Instant::now();
    let targets = ["one", "two"].map(|name| container("near").blob(name));
    let copies = targets.iter().map(|to| async {
        cloud.model.copy_blob(&source, to).await.unwrap();
        seconds(began)
    });
    // Pieces of 64 MiB at 4 MiB/s run one after the other: A, B, A, B. One copy alone would take 32 s.
    let took = join_all(copies).await;
    assert!((took[0] - 48.0).abs() < 0.01 && (took[1] - 64.0).abs() < 0.01, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn block_blob_readers_are_independent() {
    let cloud = Cloud::new("");
    let (one, two) = (cloud.page_blob("near", "one"), cloud.page_blob("near", "two"));
    let began = Instant::now();
    for copied in join_all([cloud.page(&one, 0), cloud.page(&two, 0)]).await {
        copied.unwrap();
    }
    assert_took(began, 1.0);
}

#[tokio::test(start_paused = true)]
async fn link_is_shared_and_not_filled_by_one_request() {
    let cloud = Cloud::new("");
    let began = Instant::now();
    cloud.block("far", 0).await.unwrap();
    // 4 MiB at 2 MiB/s, the limit of one request.
    assert_took(began, 2.0);
    let began = Instant::now();
    for copied in join_all((1..9).map(|n| cloud.block("far", n))).await {
        copied.unwrap();
    }
    // 32 MiB at 8 MiB/s: together the requests use the whole link.
    assert_took(began, 4.0);
    let stats = cloud.model.stats();
    assert_eq!(stats.wan_bytes(), 9 * CHUNK);
    assert_eq!(stats.accounts[1].bytes_abroad, 9 * CHUNK, "{:?}", stats.accounts);
}

#[tokio::test(start_paused = true)]
async fn account_egress_is_limited() {
    let cloud = Cloud::new("");
    let blobs: Vec<BlobAddress> = (0..8).map(|n| cloud.page_blob("near", &n.to_string())).collect();
    let began = Instant::now();
    for copied in join_all((0..).zip(&blobs).map(|(n, blob)| cloud.page(blob, n))).await {
        copied.unwrap();
    }
    // 32 MiB at 16 MiB/s, although each page blob could receive its chunk in 1 s.
    assert_took(began, 2.0);
}

#[tokio::test(start_paused = true)]
async fn blob_request_rate_is_limited() {
    let cloud = Cloud::new("");
    let blob = cloud.page_blob("near", "one");
    let began = Instant::now();
    for found in join_all((0..15).map(|_| cloud.blobs.properties(&blob))).await {
        assert!(found.unwrap().is_some());
    }
    assert_took(began, 1.5);
}

#[tokio::test(start_paused = true)]
async fn backlogged_account_throttles_and_recovers() {
    let cloud = Cloud::new("");
    let blob = cloud.page_blob("near", "one");
    let began = Instant::now();
    let copied = join_all((0..6).map(|n| cloud.page(&blob, n))).await;
    // Each takes one second. The fourth finds a backlog of 3 s, which is more than the limit of 2 s.
    let refused: Vec<bool> = copied.iter().map(Result::is_err).collect();
    assert_eq!(refused, [false, false, false, true, true, true]);
    let busy = copied[3].as_ref().unwrap_err();
    assert_eq!((busy.kind, busy.code.as_str()), (ErrorKind::Throttled, "server-busy"));
    let wait = busy.retry_after.unwrap();
    assert!(wait >= Duration::from_millis(500) && wait <= Duration::from_millis(1500), "{wait:?}");
    assert_took(began, 3.0);
    cloud.page(&blob, 3).await.unwrap();
    assert_took(began, 4.0);
    assert_eq!(cloud.model.stats().throttles, BTreeMap::from([(Limit::PageBlob, 3)]));
}

#[tokio::test(start_paused = true)]
async fn resource_manager_allows_burst_then_rate() {
    let cloud = Cloud::new("");
    let resources = ModelledResources::new(Arc::clone(&cloud.model));
    let id = |subscription| id(subscription, ResourceType::Image, "x");
    for _ in 0..3 {
        resources.get(&id(1), None).await.unwrap();
    }
    let refused = resources.get(&id(1), None).await.unwrap_err();
    assert_eq!((refused.kind, refused.retry_after), (ErrorKind::Throttled, Some(Duration::from_secs(1))));
    resources.get(&id(2), None).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    resources.get(&id(1), None).await.unwrap();
    assert_eq!(cloud.model.stats().throttles, BTreeMap::from([(Limit::ResourceManager, 1)]));
}

fn id(subscription: u32, resource_type: ResourceType, name: &str) -> ResourceId {
    ResourceId {
        subscription: SubscriptionId::nth_for_tests(subscription),
        resource_group: "images".parse().unwrap(),
        resource_type,
        name: name.parse().unwrap(),
    }
}

async fn put(resources: &ModelledResources, name: &str, region: &str, properties: Properties) -> ResourceId {
    let id = id(1, properties.resource_type(), name);
    let body = ResourceBody::new(region.parse().unwrap(), properties);
    let request = PutRequest { id: id.clone(), tenant: None, mode: PutMode::CreateOrUpdate, body };
    assert!(matches!(resources.put(&request).await.unwrap(), ChangeStatus::Done), "{id}");
    id
}

/// Copies of two disks of 20 MiB share the 8 MiB a second between the regions. Each snapshot exists at once.
#[tokio::test(start_paused = true)]
async fn snapshots_arrive_at_rate_of_link() {
    let cloud = Cloud::new(
        "resource_manager = { write_burst = 99, writes_per_second = 1, read_burst = 99, reads_per_second = 1 }\nsnapshot.seconds = 0",
    );
    let resources = ModelledResources::new(Arc::clone(&cloud.model));
    let (first, second) = (disk(&resources, "first").await, disk(&resources, "second").await);
    let mut sources = Vec::new();
    for (disk, name) in [(&first, "source-1"), (&second, "source-2")] {
        sources.push(put(&resources, name, "westeurope", snapshot(CreationData::copy(disk))).await);
    }
    for (source, name) in sources.iter().zip(["one", "two"]) {
        put(&resources, name, "eastus", snapshot(CreationData::copy_start(source))).await;
    }
    let percent = async |name: &str| {
        let found = resources.get(&id(1, ResourceType::Snapshot, name), None).await.unwrap().unwrap();
        assert_eq!(found.provisioning, Provisioning::Succeeded);
        let Properties::Snapshot(snapshot) = found.body.properties else { panic!("{name} is a snapshot") };
        snapshot.completion_percent.unwrap()
    };
    assert!((percent("one").await - 0.0).abs() < 0.1);
    tokio::time::sleep(Duration::from_millis(1250)).await;
    assert_eq!((percent("one").await.round(), percent("two").await.round()), (50.0, 25.0));
    tokio::time::sleep(Duration::from_millis(3750)).await;
    assert_eq!((percent("one").await.round(), percent("two").await.round()), (100.0, 100.0));
    assert_eq!(copied(&cloud), 40 * MIB);
}

/// An uploaded disk takes bytes at the rate of a page blob, and a snapshot of it takes the time of a snapshot.
#[tokio::test(start_paused = true)]
async fn uploads_to_disks_take_the_rate_of_a_page_blob() {
    let cloud = Cloud::new(
        "blob.page_blob_mib_per_second = 2\nsnapshot.seconds = 30\n\
         resource_manager = { write_burst = 99, writes_per_second = 1, read_burst = 99, reads_per_second = 1 }",
    );
    let source = container("source");
    let entry = ChunkEntry {
        hash: ChunkHash::of(b"chunk"),
        length: 4 << 20,
        runs: vec![Run { offset: 0, length: 4 << 20, at: 0, crc64: 7, md5: Md5Sum::of(b"") }],
    };
    cloud.model.put_chunks(&source, [&entry]).unwrap();
    let resources = ModelledResources::new(Arc::clone(&cloud.model));
    let properties = Properties::Disk(DiskProperties::new(CreationData::upload(20 * MIB)));
    let disk = put(&resources, "disk", "westeurope", properties).await;
    let request =
        AccessRequest { id: disk.clone(), tenant: None, access: Access::Write, duration: Duration::from_secs(60) };
    let AccessStatus::Granted(sas) = resources.begin(&request).await.unwrap() else { panic!("access begins at once") };
    let (from, sums) = (PageSource::Blob(source.chunk(&entry.hash)), Checksums::from(7));
    let began = Instant::now();
    for n in 0..4 {
        let answer = resources.write_from(&sas, n * 4 * MIB, &from, 0..4 * MIB, Some(sums)).await.unwrap();
        assert_eq!(answer.proves(&sums), Some(true));
    }
    assert_took(began, 8.0);
    assert!(resources.holds(&sas, 12 * MIB..16 * MIB, sums).await.unwrap());
    let data = resources.layout(&sas).await.unwrap().data;
    assert_eq!((data.first().unwrap().start, data.last().unwrap().end), (0, 16 * MIB));
    let refused = resources.write_from(&sas, 0, &from, 0..4 * MIB, Some(8.into())).await.unwrap_err();
    assert_eq!(refused.code, "source-corrupt");
    resources.end(&disk, None).await.unwrap();
    let refused = resources.write_from(&sas, 0, &from, 0..4 * MIB, Some(sums)).await.unwrap_err();
    assert_eq!(refused.code, "access-ended");
    let began = Instant::now();
    let body = ResourceBody::new("westeurope".parse().unwrap(), snapshot(CreationData::copy(&disk)));
    let id = id(1, ResourceType::Snapshot, "golden");
    let request = PutRequest { id, tenant: None, mode: PutMode::Create, body };
    let change = resources.put(&request).await.unwrap();
    wait_until_done(&resources, cloud.model.ports().clock.as_ref(), change).await.unwrap();
    assert_took(began, 30.0);
    assert_eq!(cloud.model.stats().requests["put page from url"], 4);
}

fn snapshot(data: CreationData) -> Properties {
    Properties::Snapshot(SnapshotProperties::new(data, true))
}

/// The bytes that were copied between regions.
fn copied(cloud: &Cloud) -> u64 {
    cloud.model.stats().links.iter().map(|link| link.copied).sum()
}

/// A complete disk of 20 MiB.
async fn disk(resources: &ModelledResources, name: &str) -> ResourceId {
    let disk = Properties::Disk(DiskProperties::new(CreationData::upload(20 * MIB)));
    let disk = put(resources, name, "westeurope", disk).await;
    let access =
        AccessRequest { id: disk.clone(), tenant: None, access: Access::Write, duration: Duration::from_secs(60) };
    resources.begin(&access).await.unwrap();
    resources.end(&disk, None).await.unwrap();
    disk
}

/// The first copy of a family moves the whole disk, each later one what was written to the disk since the snapshot that
/// was copied before. Another region, and a region without its copies, get the whole disk.
#[tokio::test(start_paused = true)]
async fn incremental_copies_move_their_difference() {
    let cloud = Cloud::new(
        "resource_manager = { write_burst = 99, writes_per_second = 1, read_burst = 99, reads_per_second = 1 }\nsnapshot.seconds = 0",
    );
    let resources = ModelledResources::new(Arc::clone(&cloud.model));
    let disk = disk(&resources, "disk").await;
    let mut sources = Vec::new();
    for (n, written) in [0, 4 * MIB, 2 * MIB, 400 * MIB].into_iter().enumerate() {
        cloud.model.write_to_disk(&disk, written).unwrap();
        let name = format!("source-{n}");
        sources.push(put(&resources, &name, "westeurope", snapshot(CreationData::copy(&disk))).await);
    }
    let copy = async |name: &str, source: usize, region: &str, expected: u64| {
        let before = copied(&cloud);
        let copy = put(&resources, name, region, snapshot(CreationData::copy_start(&sources[source]))).await;
        assert_eq!(copied(&cloud) - before, expected, "{name}");
        tokio::time::sleep(Duration::from_secs(10)).await;
        copy
    };
    copy("first", 0, "eastus", 20 * MIB).await;
    copy("elsewhere", 1, "westus", 20 * MIB).await;
    // The second snapshot is left out, so the third one moves the difference to the first one.
    let third = copy("third", 2, "eastus", 6 * MIB).await;
    let fourth = copy("fourth", 3, "eastus", 20 * MIB).await;
    copy("fourth-again", 3, "eastus", 0).await;
    for gone in
        ["first", "fourth-again"].map(|name| id(1, ResourceType::Snapshot, name)).iter().chain([&third, &fourth])
    {
        resources.delete(gone, None).await.unwrap();
    }
    copy("without-base", 3, "eastus", 20 * MIB).await;
}

/// 100 copies arrive at one time in a subscription and region.
#[tokio::test(start_paused = true)]
async fn copies_to_a_region_are_limited() {
    let cloud = Cloud::new(
        "resource_manager = { write_burst = 999, writes_per_second = 1, read_burst = 99, reads_per_second = 1 }\nsnapshot.seconds = 0",
    );
    let resources = ModelledResources::new(Arc::clone(&cloud.model));
    let mut sources = Vec::new();
    for n in 0..=100 {
        let disk = disk(&resources, &format!("disk-{n}")).await;
        sources.push(put(&resources, &format!("s-{n}"), "westeurope", snapshot(CreationData::copy(&disk))).await);
    }
    for (n, source) in sources[..100].iter().enumerate() {
        put(&resources, &format!("copy-{n}"), "eastus", snapshot(CreationData::copy_start(source))).await;
    }
    let request = |region: &str, subscription| PutRequest {
        id: id(subscription, ResourceType::Snapshot, &format!("last-{region}")),
        tenant: None,
        mode: PutMode::CreateOrUpdate,
        body: ResourceBody::new(region.parse().unwrap(), snapshot(CreationData::copy_start(&sources[100]))),
    };
    let refused = resources.put(&request("eastus", 1)).await.unwrap_err();
    assert_eq!((refused.kind, refused.code.as_str()), (ErrorKind::Conflict, "copy-limit-reached"));
    for (region, subscription) in [("westus", 1), ("eastus", 2)] {
        assert!(matches!(resources.put(&request(region, subscription)).await.unwrap(), ChangeStatus::Done));
    }
    // A copy of 20 MiB takes 2.5 s.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(matches!(resources.put(&request("eastus", 1)).await.unwrap(), ChangeStatus::Done));
}

#[tokio::test(start_paused = true)]
async fn copies_inside_account_are_serialised() {
    let cloud = Cloud::new("blob.copy_inside_account_mb_per_second = 100");
    let source = container("source").blob("golden.vhd");
    cloud.model.put_page_blob(&source, 1_000_000_000).unwrap();
    let copies: Vec<BlobAddress> = (0..3).map(|n| container("source").blob(format!("copy-{n}"))).collect();
    let began = Instant::now();
    join_all(copies.iter().map(|to| cloud.model.copy_blob(&source, to))).await;
    assert_took(began, 30.0);
}
