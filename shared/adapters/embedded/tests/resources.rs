//! The resources of the directory cloud: the conformance suite, the files, and the bytes of disks and snapshots.
#![expect(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use goldfleet_embedded::blob_store::DirectoryBlobs;
use goldfleet_embedded::resources::DirectoryResources;
use goldfleet_model::checksum::crc64;
use goldfleet_model::ids::SubscriptionId;
use goldfleet_model::image::StorageType;
use goldfleet_model::manifest::{Generation, OsType};
use goldfleet_model::resource::{
    CreationData, DiskProperties, ImageProperties, LockLevel, Properties, ResourceBody, ResourceId, ResourceType,
    SnapshotProperties,
};
use goldfleet_model::store::Container;
use goldfleet_ports::blob_store::BlobStore;
use goldfleet_ports::clock::{Clock, SystemClock};
use goldfleet_ports::conformance::clock::{Advance as _, ManualClock, RealTime};
use goldfleet_ports::conformance::resources::{
    DiskWriter, ForeignLocks, LockPorts, ResourceSuite, ResourceSuiteLocation, put_smallest_vhd,
};
use goldfleet_ports::conformance::resources::{PagePorts, SOURCE_LENGTH};
use goldfleet_ports::disk_access::{Access, AccessRequest, AccessStatus, DiskAccess};
use goldfleet_ports::error::ErrorKind;
use goldfleet_ports::resource_locks::ResourceLocks as _;
use goldfleet_ports::resources::{PutMode, PutRequest, ResourceQuery, ResourceService, list_all};
use tempfile::TempDir;

const MIB: u64 = 1 << 20;

fn container() -> Container {
    Container { account: "stage0001".parse().unwrap(), container: "golden".parse().unwrap() }
}

fn resources_at(root: &Path) -> DirectoryResources {
    DirectoryResources::new(root.to_owned(), Arc::new(SystemClock))
}

/// Creates a directory cloud with the container.
async fn cloud() -> (TempDir, DirectoryBlobs, DirectoryResources) {
    let root = TempDir::new().unwrap();
    let blobs = DirectoryBlobs::new(root.path().to_owned(), Arc::new(SystemClock));
    blobs.ensure_container(&container()).await.unwrap();
    let resources = resources_at(root.path());
    (root, blobs, resources)
}

fn id(resource_type: ResourceType, name: &str) -> ResourceId {
    ResourceId {
        subscription: SubscriptionId::nth_for_tests(1),
        resource_group: "images".parse().unwrap(),
        resource_type,
        name: name.parse().unwrap(),
    }
}

fn request(name: &str, region: &str, properties: Properties) -> PutRequest {
    let id = id(properties.resource_type(), name);
    let body = ResourceBody::new(region.parse().unwrap(), properties);
    PutRequest { id, tenant: None, mode: PutMode::CreateOrUpdate, body }
}

fn image_of(vhd: &str) -> PutRequest {
    let url = container().blob(vhd).to_string();
    let image = ImageProperties::of_vhd(url, OsType::Windows, Generation::V2, StorageType::PremiumLrs)
        .with_encryption_set(Some("/subscriptions/1/diskEncryptionSets/keys"));
    let request = request("ubuntu-1", "westeurope", Properties::Image(image));
    let tags = BTreeMap::from([("team".to_owned(), "platform".to_owned())]);
    PutRequest { body: request.body.with_tags(tags), ..request }
}

fn disk(name: &str, data: CreationData) -> PutRequest {
    request(name, "westeurope", Properties::Disk(DiskProperties::new(data)))
}

fn snapshot(name: &str, region: &str, data: CreationData) -> PutRequest {
    request(name, region, Properties::Snapshot(SnapshotProperties::new(data, true)))
}

/// The locks of others: files that an operator writes.
struct Others(PathBuf);

impl Others {
    /// The folder of the locks of a subscription, resource group or resource.
    fn folder(&self, scope: &str) -> PathBuf {
        let parts: Vec<&str> = scope.split('/').skip(1).collect();
        let below = match parts[..] {
            ["subscriptions", subscription] => format!("{subscription}/locks"),
            ["subscriptions", subscription, "resourceGroups", group] => {
                format!("{subscription}/resourceGroups/{group}/locks")
            }
            ["subscriptions", subscription, "resourceGroups", group, "providers", _, kind, name] => {
                format!("{subscription}/resourceGroups/{group}/locks/{kind}/{name}")
            }
            _ => panic!("{scope}"),
        };
        self.0.join("subscriptions").join(below)
    }
}

#[async_trait]
impl ForeignLocks for Others {
    async fn put(&self, scope: &str, name: &str, level: LockLevel) {
        let folder = self.folder(scope);
        fs::create_dir_all(&folder).unwrap();
        let text = format!(r#"{{"properties": {{"level": "{}"}}}}"#, level.as_str());
        fs::write(folder.join(format!("{name}.json")), text).unwrap();
    }

    async fn remove(&self, scope: &str, name: &str) {
        fs::remove_file(self.folder(scope).join(format!("{name}.json"))).unwrap();
    }
}

/// A file that is no lock is an error and not the absence of a lock: nothing is deleted.
#[tokio::test]
async fn unreadable_lock_prevents_deletion() {
    let (root, _blobs, resources) = cloud().await;
    let disk = disk("disk", CreationData::upload(20 * MIB));
    resources.put(&disk).await.unwrap();
    let folder = root.path().join(format!("subscriptions/{}/locks", SubscriptionId::nth_for_tests(1)));
    fs::create_dir_all(&folder).unwrap();
    for text in ["", "{", "{}", r#"{"properties": {"level": 1}}"#] {
        fs::write(folder.join("keep.json"), text).unwrap();
        let listed = resources.locks(&disk.id, None).await.unwrap_err();
        assert_eq!((listed.kind, listed.code.as_str()), (ErrorKind::Invalid, "lock-unreadable"), "{text}");
        assert!(listed.message.contains("locks/keep.json"), "{}", listed.message);
        assert_eq!(resources.delete(&disk.id, None).await.unwrap_err().code, "lock-unreadable");
        assert!(resources.get(&disk.id, None).await.unwrap().is_some());
    }
    // A lock of an unknown level forbids deletion only.
    fs::write(folder.join("keep.json"), r#"{"properties": {"level": "NotSpecified"}}"#).unwrap();
    assert_eq!(resources.delete(&disk.id, None).await.unwrap_err().code, "scope-locked");
    resources.put(&disk).await.unwrap();
    fs::remove_file(folder.join("keep.json")).unwrap();
    resources.delete(&disk.id, None).await.unwrap();
}

/// Writes the files of disks.
struct Writer(PathBuf);

impl DiskWriter for Writer {
    fn write(&self, id: &ResourceId, offset: u64, bytes: Bytes) {
        let group = format!("subscriptions/{}/resourceGroups/{}", id.subscription, id.resource_group);
        let file = self.0.join(group).join(id.resource_type.segment()).join(format!("{}.disk", id.name));
        OpenOptions::new().write(true).open(file).unwrap().write_all_at(&bytes, offset).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn resources_conform() {
    let (root, blobs, resources) = cloud().await;
    let resources = resources.with_list_page(2);
    let location = ResourceSuiteLocation {
        subscription: SubscriptionId::nth_for_tests(1),
        resource_group: "images".parse().unwrap(),
        other_group: "other".parse().unwrap(),
        region: "westeurope".parse().unwrap(),
        other_region: "eastus".parse().unwrap(),
        container: container(),
    };
    let suite = ResourceSuite { resources: &resources, access: &resources, blobs: &blobs, location: &location };
    suite.all().await;
    suite.content_of_disks(&Writer(root.path().to_owned())).await;
    suite.expired_access_reads_nothing(&RealTime).await;
    suite.locks(LockPorts { locks: &resources, foreign: &Others(root.path().to_owned()) }).await;
    let (blob, bytes) = (container().blob("chunks/one"), Bytes::from(vec![7; SOURCE_LENGTH]));
    blobs.put_blob(&blob, bytes.clone(), crc64(&bytes).into()).await.unwrap();
    suite.pages_of_disks(PagePorts { pages: &resources, blob: &blob, bytes: &bytes }).await;
}

/// With a time for copies, the suite sees them in progress.
#[tokio::test(flavor = "multi_thread")]
async fn slow_copies_conform() {
    let (root, blobs, resources) = cloud().await;
    settings(root.path(), r#"{"copy_seconds": 0.4}"#);
    let location = ResourceSuiteLocation {
        subscription: SubscriptionId::nth_for_tests(1),
        resource_group: "images".parse().unwrap(),
        other_group: "other".parse().unwrap(),
        region: "westeurope".parse().unwrap(),
        other_region: "eastus".parse().unwrap(),
        container: container(),
    };
    let suite = ResourceSuite { resources: &resources, access: &resources, blobs: &blobs, location: &location };
    suite.copies().await;
    suite.snapshot_is_copied_to_other_region().await;
}

fn settings(root: &Path, text: &str) {
    fs::create_dir_all(root.join("subscriptions")).unwrap();
    fs::write(root.join("subscriptions/settings.json"), text).unwrap();
}

/// The content arrives during the time in the settings, and the snapshot cannot be used before. The copy fails if its
/// source is deleted meanwhile, and stays if it is deleted afterwards.
#[tokio::test]
async fn copy_arrives_in_the_time_of_the_settings() {
    let root = TempDir::new().unwrap();
    let clock = ManualClock::at(jiff::Timestamp::UNIX_EPOCH);
    let resources = DirectoryResources::new(root.path().to_owned(), Arc::new(clock.clone()));
    settings(root.path(), r#"{"copy_seconds": 10}"#);
    let mut sources = Vec::new();
    for n in 0..2 {
        let disk = disk(&format!("disk-{n}"), CreationData::upload(20 * MIB));
        resources.put(&disk).await.unwrap();
        begin(&resources, &disk.id, Access::Write).await;
        resources.end(&disk.id, None).await.unwrap();
        let source = snapshot(&format!("source-{n}"), "westeurope", CreationData::copy(&disk.id));
        resources.put(&source).await.unwrap();
        let copy = snapshot(&format!("copy-{n}"), "eastus", CreationData::copy_start(&source.id));
        resources.put(&copy).await.unwrap();
        sources.push(source.id);
    }
    let shown = async |name: &str| {
        let found = resources.get(&id(ResourceType::Snapshot, name), None).await.unwrap().unwrap();
        let Properties::Snapshot(snapshot) = found.body.properties else { unreachable!() };
        (snapshot.completion_percent.unwrap(), snapshot.copy_completion_error.map(|error| error.error_code))
    };
    assert_eq!(shown("copy-0").await, (0.0, None));
    clock.elapse(Duration::from_secs(4)).await;
    assert_eq!(shown("copy-0").await, (40.0, None));
    resources.delete(&sources[1], None).await.unwrap();
    clock.elapse(Duration::from_secs(6)).await;
    assert_eq!(shown("copy-0").await, (100.0, None));
    assert_eq!(shown("copy-1").await, (40.0, Some("CopySourceNotFound".to_owned())));
    resources.delete(&sources[0], None).await.unwrap();
    assert_eq!(shown("copy-0").await, (100.0, None));
    for name in ["copy-0", "copy-1"] {
        resources.delete(&id(ResourceType::Snapshot, name), None).await.unwrap();
    }
    let group = format!("subscriptions/{}/resourceGroups/images/snapshots", SubscriptionId::nth_for_tests(1));
    assert_eq!(fs::read_dir(root.path().join(group)).unwrap().count(), 0);
}

/// An image of one VHD is never replaced by an image of another VHD, even while other processes delete and create it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn images_of_one_name_are_not_replaced_by_others() {
    let (root, blobs, resources) = cloud().await;
    for vhd in ["one.vhd", "other.vhd"] {
        put_smallest_vhd(&blobs, &container().blob(vhd)).await;
    }
    let (one, other) = (image_of("one.vhd"), image_of("other.vhd"));
    let again = tokio::spawn({
        let resources = resources.clone();
        async move {
            for _ in 0..2000 {
                let _ = resources.put(&one).await;
            }
        }
    });
    let file = root.path().join("subscriptions").join(other.id.subscription.to_string());
    let file = file.join("resourceGroups/images/images/ubuntu-1.json");
    while !again.is_finished() {
        resources.delete(&other.id, None).await.unwrap();
        if resources.put(&other).await.is_ok() {
            let text = fs::read_to_string(&file).unwrap();
            assert!(text.contains("other.vhd"), "it was replaced by an image of another VHD: {text}");
        }
    }
    again.await.unwrap();
}

#[tokio::test]
async fn image_file_matches_azure_resource() {
    let (root, blobs, resources) = cloud().await;
    let request = image_of("ubuntu__1.vhd");
    put_smallest_vhd(&blobs, &container().blob("ubuntu__1.vhd")).await;
    resources.put(&request).await.unwrap();
    let folder = format!("subscriptions/{}/resourceGroups/images/images", request.id.subscription);
    insta::assert_snapshot!(fs::read_to_string(root.path().join(folder).join("ubuntu-1.json")).unwrap());
}

/// The path of the content to which access was given.
async fn begin(resources: &DirectoryResources, id: &ResourceId, access: Access) -> PathBuf {
    let request = AccessRequest { id: id.clone(), tenant: None, access, duration: Duration::from_secs(60) };
    let AccessStatus::Granted(sas) = resources.begin(&request).await.unwrap() else {
        panic!("access is given at once")
    };
    let path = sas.expose().strip_prefix("file://").unwrap().split_once('?').unwrap().0;
    PathBuf::from(path)
}

/// The bytes of an uploaded disk reach its snapshots, their copies in other regions, and the disks made of them.
#[tokio::test]
async fn copies_have_the_bytes_of_the_disk() {
    let (_root, _blobs, resources) = cloud().await;
    let source = disk("source", CreationData::upload(20 * MIB));
    resources.put(&source).await.unwrap();
    let path = begin(&resources, &source.id, Access::Write).await;
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    assert_eq!(file.metadata().unwrap().len(), 20 * MIB + 512);
    file.write_all_at(&[7; 4096], 3 * MIB).unwrap();
    file.write_all_at(b"footer", 20 * MIB).unwrap();
    resources.end(&source.id, None).await.unwrap();

    let first = snapshot("first", "westeurope", CreationData::copy(&source.id));
    let far = snapshot("far", "eastus", CreationData::copy_start(&first.id));
    let copy = disk("copy", CreationData::copy(&first.id));
    resources.put(&first).await.unwrap();
    // The snapshot keeps the bytes that the disk had.
    file.write_all_at(&[8; 4096], 3 * MIB).unwrap();
    resources.delete(&source.id, None).await.unwrap();
    let mut expected = vec![0; usize::try_from(20 * MIB).unwrap()];
    expected[3 << 20..(3 << 20) + 4096].fill(7);
    for request in [&far, &copy] {
        resources.put(request).await.unwrap();
    }
    for request in [&first, &far, &copy] {
        let path = begin(&resources, &request.id, Access::Read).await;
        assert!(fs::read(&path).unwrap() == expected, "{} has other bytes", request.id);
        assert!(fs::metadata(&path).unwrap().blocks() * 512 < MIB, "{} is not sparse", request.id);
    }
}

/// A deletion leaves no file, and a copy whose source has no content is refused.
#[tokio::test]
async fn content_is_removed_with_its_resource() {
    let (_root, _blobs, resources) = cloud().await;
    let source = disk("source.1", CreationData::upload(20 * MIB));
    resources.put(&source).await.unwrap();
    let path = begin(&resources, &source.id, Access::Write).await;
    resources.end(&source.id, None).await.unwrap();
    fs::remove_file(&path).unwrap();
    let copy = disk("copy", CreationData::copy(&source.id));
    let refusal = resources.put(&copy).await.unwrap_err();
    assert_eq!((refusal.kind, refusal.code.as_str()), (ErrorKind::NotFound, "copy-source-not-found"));
    assert_eq!(resources.get(&copy.id, None).await.unwrap(), None);
    resources.delete(&source.id, None).await.unwrap();
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 0);
}

/// A file that an operator added is listed if its name is valid, and otherwise counted.
#[tokio::test]
async fn files_of_others_are_listed_or_counted() {
    let (root, _blobs, resources) = cloud().await;
    resources.put(&disk("ours", CreationData::upload(20 * MIB))).await.unwrap();
    let folder = root.path().join(format!("subscriptions/{}/resourceGroups", SubscriptionId::nth_for_tests(1)));
    let text = fs::read_to_string(folder.join("images/disks/ours.json")).unwrap();
    fs::write(folder.join("images/disks/theirs.json"), &text).unwrap();
    fs::write(folder.join("images/disks/not a name.json"), &text).unwrap();
    fs::create_dir_all(folder.join("Gr\u{fc}n/disks")).unwrap();
    fs::write(folder.join("Gr\u{fc}n/disks/other.json"), &text).unwrap();
    let query = ResourceQuery {
        resource_type: ResourceType::Disk,
        subscription: SubscriptionId::nth_for_tests(1),
        resource_group: None,
        parent: None,
        tags: BTreeMap::new(),
        tenant: None,
    };
    let clock: &dyn Clock = &SystemClock;
    for pages in [1, 100] {
        let found = list_all(&resources.clone().with_list_page(pages), clock, &query).await.unwrap();
        let names: Vec<&str> = found.resources.iter().map(|resource| resource.id.name.as_str()).collect();
        assert_eq!((names.as_slice(), found.unreadable.len()), (&["ours", "theirs"][..], 2));
        assert!(found.unreadable.iter().all(|item| item.id.is_none()), "{found:?}");
    }
}

/// One file that cannot be read does not hide the others.
#[tokio::test]
async fn unreadable_file_is_set_aside() {
    let (root, _blobs, resources) = cloud().await;
    for name in ["ours", "broken", "strange"] {
        resources.put(&disk(name, CreationData::upload(20 * MIB))).await.unwrap();
    }
    let folder = root.path().join(format!("subscriptions/{}/resourceGroups", SubscriptionId::nth_for_tests(1)));
    fs::write(folder.join("images/disks/broken.json"), "{").unwrap();
    let strange = folder.join("images/disks/strange.json");
    let mut value: serde_json::Value = serde_json::from_slice(&fs::read(&strange).unwrap()).unwrap();
    value["properties"]["osType"] = "Plan9".into();
    fs::write(&strange, value.to_string()).unwrap();
    let mut query = ResourceQuery {
        resource_type: ResourceType::Disk,
        subscription: SubscriptionId::nth_for_tests(1),
        resource_group: Some("images".parse().unwrap()),
        parent: None,
        tags: BTreeMap::new(),
        tenant: None,
    };
    let clock: &dyn Clock = &SystemClock;
    for pages in [1, 100] {
        let found = list_all(&resources.clone().with_list_page(pages), clock, &query).await.unwrap();
        let names: Vec<&str> = found.resources.iter().map(|resource| resource.id.name.as_str()).collect();
        assert_eq!(names, ["ours"]);
        let bad: Vec<_> = found.unreadable.iter().map(|item| item.id.as_ref().unwrap().name.as_str()).collect();
        assert_eq!(bad, ["broken", "strange"]);
        assert!(found.unreadable[1].to_string().contains("Plan9"), "{}", found.unreadable[1]);
    }
    // Its tags can be read, and exclude it.
    query.tags.insert("a".to_owned(), "b".to_owned());
    let found = list_all(&resources, clock, &query).await.unwrap();
    let bad: Vec<_> = found.unreadable.iter().map(|item| item.id.as_ref().unwrap().name.as_str()).collect();
    assert_eq!((found.resources.len(), bad), (0, vec!["broken"]));
}

/// As at Azure: nothing can be concluded from a list of a group that does not exist.
#[tokio::test]
async fn list_of_a_missing_group_is_an_error() {
    let (root, _blobs, resources) = cloud().await;
    let query = ResourceQuery {
        resource_type: ResourceType::Snapshot,
        subscription: SubscriptionId::nth_for_tests(1),
        resource_group: Some("Gone".parse().unwrap()),
        parent: None,
        tags: BTreeMap::new(),
        tenant: None,
    };
    let error = resources.list(&query, None).await.unwrap_err();
    assert_eq!((error.kind, error.code.as_str()), (ErrorKind::NotFound, "resource-group-not-found"));
    assert!(error.message.contains("create the folder"), "{error}");
    let groups = root.path().join(format!("subscriptions/{}/resourceGroups", SubscriptionId::nth_for_tests(1)));
    fs::create_dir_all(groups.join("gone")).unwrap();
    assert!(resources.list(&query, None).await.unwrap().resources.is_empty());
    let query = ResourceQuery { resource_group: None, ..query };
    assert!(resources.list(&query, None).await.unwrap().resources.is_empty());
}

/// Thousands of deletions would take minutes if each of them listed all snapshots.
#[tokio::test]
async fn deletion_lists_nothing() {
    let (root, _blobs, resources) = cloud().await;
    let source = disk("source", CreationData::upload(20 * MIB));
    resources.put(&source).await.unwrap();
    begin(&resources, &source.id, Access::Write).await;
    resources.end(&source.id, None).await.unwrap();
    let snapshot = id(ResourceType::Snapshot, "snapshot");
    let properties = Properties::Snapshot(SnapshotProperties::new(CreationData::copy(&source.id), true));
    let body = ResourceBody::new("westeurope".parse().unwrap(), properties);
    let request = PutRequest { id: snapshot.clone(), tenant: None, mode: PutMode::Create, body };
    resources.put(&request).await.unwrap();
    // A list of this subscription fails.
    let other = root.path().join(format!("subscriptions/{}", SubscriptionId::nth_for_tests(2)));
    fs::create_dir_all(&other).unwrap();
    fs::write(other.join("resourceGroups"), "no folder").unwrap();
    resources.delete(&snapshot, None).await.unwrap();
    assert_eq!(resources.get(&snapshot, None).await.unwrap(), None);
}
