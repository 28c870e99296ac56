//! Resources with the double of Resource Manager: the conformance suite for all ways of following operations, and the
//! shapes that were recorded from Azure.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use goldfleet_azure::{AzureDiskPages, AzureResources};
use goldfleet_model::ids::SubscriptionId;
use goldfleet_model::resource::{
    self, CreationData, DiskProperties, DiskState, LockId, Properties, ResourceBody, ResourceId, ResourceType,
    SnapshotProperties,
};
use goldfleet_model::store::Container;
use goldfleet_ports::blob_store::BlobStore as _;
use goldfleet_ports::clock::SystemClock;
use goldfleet_ports::conformance::resources::{
    DiskWriter, ForeignLocks, LockPorts, ResourceSuite, ResourceSuiteLocation,
};
use goldfleet_ports::conformance::resources::{PagePorts, SOURCE_LENGTH};
use goldfleet_ports::disk_access::{Access, AccessRequest, AccessStatus, DiskAccess, DiskSas};
use goldfleet_ports::error::{ErrorKind, PortResult};
use goldfleet_ports::resource_locks::{LockRequest, ResourceLocks as _};
use goldfleet_ports::resources::{
    ChangeStatus, Provisioning, PutMode, PutRequest, Resource, ResourceQuery, ResourceService, list_all,
};
use goldfleet_tests::azure::arm::behaviours::{Behaviours, Checks};
use goldfleet_tests::azure::arm::{
    Authorization, BlobChecks, Fault, Limits, Links, Lock, LockLevel, LongRunning, Matches, OperationEnd, Role,
    RoleAssignment, Shared, TenantState,
};
use goldfleet_tests::azure::fixture::{AzureFixture, PRINCIPAL};

const ONE: &str = "00000000-0000-0000-0000-000000000001";
const GROUP: &str = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/images";
const SIZE: u64 = 20 << 20;

/// A fixture with two regions and a second resource group, in which everything is allowed.
fn fixture() -> AzureFixture {
    let azure = AzureFixture::start(1, &["westeurope", "eastus"]);
    change(&azure, |world| {
        *world = world.clone().group(ONE, "other", "westeurope");
        // The roles of a fleet have no rights on disks and snapshots yet.
        // Waits for a filled bucket would take most of the time.
        world.limits = Limits::none();
        world.roles.clear();
        world.authorization = Authorization::Open;
    });
    azure
}

fn change(azure: &AzureFixture, change: impl FnOnce(&mut TenantState)) {
    azure.manager.world().write(change);
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

fn disk(name: &str) -> PutRequest {
    request(name, "westeurope", Properties::Disk(DiskProperties::new(CreationData::upload(SIZE))))
}

fn snapshot(name: &str, region: &str, data: CreationData) -> PutRequest {
    request(name, region, Properties::Snapshot(SnapshotProperties::new(data, true)))
}

async fn put(resources: &AzureResources, request: &PutRequest) -> PortResult<Resource> {
    let mut state = resources.put(request).await?;
    while let ChangeStatus::Pending(pending) = state {
        tokio::time::sleep(pending.retry_after.min(Duration::from_millis(20))).await;
        state = resources.poll(&pending).await?;
    }
    match state {
        ChangeStatus::Failed(error) => Err(error),
        _ => Ok(resources.get(&request.id, None).await?.unwrap()),
    }
}

async fn begin(resources: &AzureResources, id: &ResourceId, access: Access) -> PortResult<DiskSas> {
    let request = AccessRequest { id: id.clone(), tenant: None, access, duration: Duration::from_secs(3600) };
    let mut state = resources.begin(&request).await?;
    loop {
        state = match state {
            AccessStatus::Granted(sas) => return Ok(sas),
            AccessStatus::Failed(error) => return Err(error),
            AccessStatus::Pending(pending) => {
                tokio::time::sleep(pending.retry_after.min(Duration::from_millis(20))).await;
                resources.poll_begin(&pending).await?
            }
        }
    }
}

async fn end(resources: &AzureResources, id: &ResourceId) -> PortResult<()> {
    let mut state = resources.end(id, None).await?;
    while let ChangeStatus::Pending(pending) = state {
        tokio::time::sleep(pending.retry_after.min(Duration::from_millis(20))).await;
        state = resources.poll_end(&pending).await?;
    }
    match state {
        ChangeStatus::Failed(error) => Err(error),
        _ => Ok(()),
    }
}

fn state(resource: &Resource) -> Option<DiskState> {
    resource.body.properties.disk().unwrap().disk_state.clone()
}

fn location() -> ResourceSuiteLocation {
    ResourceSuiteLocation {
        subscription: SubscriptionId::nth_for_tests(1),
        resource_group: "images".parse().unwrap(),
        other_group: "other".parse().unwrap(),
        region: "westeurope".parse().unwrap(),
        other_region: "eastus".parse().unwrap(),
        container: Container { account: "stage1westeurope".parse().unwrap(), container: "vhds".parse().unwrap() },
    }
}

/// The locks of others.
struct Others(Shared<TenantState>);

#[async_trait]
impl ForeignLocks for Others {
    async fn put(&self, scope: &str, name: &str, level: resource::LockLevel) {
        let level = match level {
            resource::LockLevel::CanNotDelete => LockLevel::CanNotDelete,
            resource::LockLevel::ReadOnly => LockLevel::ReadOnly,
        };
        self.0.write(|world| world.locks.push(Lock::new(name, scope, level)));
    }

    async fn remove(&self, scope: &str, name: &str) {
        let id = Lock::new(name, scope, LockLevel::ReadOnly).id();
        self.0.write(|world| world.locks.retain(|lock| lock.id() != id));
    }
}

/// The request has the name, the level and the notes of the lock. Without rights, locks can be neither listed nor
/// changed.
#[test]
fn locks_need_rights() {
    let azure = fixture();
    let resources = azure.resources();
    azure.run(put(&resources, &disk("disk"))).unwrap();
    let target = id(ResourceType::Disk, "disk");
    let lock = LockRequest {
        id: LockId::new(target.clone(), "goldfleet-citrix").unwrap(),
        tenant: None,
        level: resource::LockLevel::CanNotDelete,
        notes: "put by sync citrix".to_owned(),
    };
    azure.run(resources.put_lock(&lock)).unwrap();
    let found = azure.manager.world().read(|world| world.locks[0].clone());
    assert_eq!((found.id(), found.notes.as_str()), (lock.id.to_string(), "put by sync citrix"));
    assert_eq!(found.level, LockLevel::CanNotDelete);

    let role = |actions: &[&str]| RoleAssignment::new(PRINCIPAL, GROUP, Role::custom("role", actions, &[]));
    let denied = |result: PortResult<()>, action: &str| {
        let error = result.unwrap_err();
        assert_eq!((error.kind, error.code.as_str()), (ErrorKind::Denied, "authorization-failed"), "{error:?}");
        assert!(error.message.contains(action), "{error:?}");
    };
    change(&azure, |world| *world = world.clone().role(role(&["Microsoft.Compute/*"])));
    denied(azure.run(resources.locks(&target, None)).map(drop), "Microsoft.Authorization/locks/read");
    change(&azure, |world| *world = world.clone().role(role(&["Microsoft.Authorization/locks/read"])));
    assert_eq!(azure.run(resources.locks(&target, None)).unwrap().len(), 1);
    denied(azure.run(resources.put_lock(&lock)), "Microsoft.Authorization/locks/write");
    denied(azure.run(resources.delete_lock(&lock.id, None)), "Microsoft.Authorization/locks/delete");
}

/// A list of locks is complete or an error.
#[test]
fn list_of_locks_with_failing_page_is_an_error() {
    let azure = fixture();
    let resources = azure.resources();
    azure.run(put(&resources, &disk("disk"))).unwrap();
    let target = id(ResourceType::Disk, "disk");
    change(&azure, |world| {
        let names = ["a", "b", "c", "d", "e"];
        world.locks.extend(names.map(|name| Lock::new(name, GROUP, LockLevel::CanNotDelete)));
        world.page = Some(2);
    });
    assert_eq!(azure.run(resources.locks(&target, None)).unwrap().len(), 5);
    let third = Matches::of("GET", "Microsoft.Authorization/locks").containing("skiptoken=4");
    azure.manager.faults().next(100, third, Fault::Status(500, None));
    assert_eq!(azure.run(resources.locks(&target, None)).unwrap_err().kind, ErrorKind::Unavailable);
}

/// Writes to disks, as a machine does.
struct Machine(Shared<TenantState>);

impl DiskWriter for Machine {
    fn write(&self, id: &ResourceId, offset: u64, bytes: Bytes) {
        self.0.write(|world| world.write_disk(&id.to_string(), offset, &bytes));
    }
}

/// Resource Manager may return either address, both, or complete the change at once. Lists may have several pages and
/// display names of regions.
#[test]
fn resources_conform_for_every_polling_style() {
    let azure = fixture();
    let (blobs, resources) = (azure.blobs(), azure.resources());
    let location = location();
    azure.run(blobs.ensure_container(&location.container)).unwrap();
    let suite = ResourceSuite { resources: &resources, access: &resources, blobs: &blobs, location: &location };
    let base = LongRunning::default();
    for (n, long_running) in [
        LongRunning { links: Links::Both, ..base.clone() },
        LongRunning { links: Links::Location, polls: 3, ..base.clone() },
        LongRunning { links: Links::AsyncOperation, address_bytes: 4000, ..base.clone() },
        LongRunning { links: Links::Location, leaves_failed: true, ..base.clone() },
        LongRunning { at_once: true, ..base.clone() },
    ]
    .into_iter()
    .enumerate()
    {
        change(&azure, |world| {
            world.long_running = long_running;
            world.page = [None, Some(3)][n % 2];
            world.display_regions = n > 1;
        });
        azure.run(suite.all());
        if n < 2 {
            change(&azure, |world| (world.disk_data.footers, world.disk_data.ranges) = (n == 0, [10_000, 2][n]));
            azure.run(suite.content_of_disks(&Machine(azure.manager.world().clone())));
        }
    }
    change(&azure, |world| world.blob_checks = BlobChecks::AtOnce);
    azure.run(suite.images());
}

/// Writes to disks conform with each behaviour that Azure does not document.
#[test]
fn disk_pages_conform() {
    let azure = fixture();
    let location = location();
    let (blob, bytes) = (location.container.blob("chunks/one"), Bytes::from(vec![7; SOURCE_LENGTH]));
    let pages = AzureDiskPages::new(azure.resources(), azure.blobs());
    let (blobs, resources) = (azure.blobs(), azure.resources());
    let suite = ResourceSuite { resources: &resources, access: &resources, blobs: &blobs, location: &location };
    let path = format!("/{}/{}", location.container.container, blob.name);
    change(&azure, |world| drop(world.page_sources.insert(path, bytes.to_vec())));
    for behaviours in [
        Behaviours::default(),
        Behaviours { page_answer_md5: false, ..Behaviours::default() },
        Behaviours { page_source_md5: Checks::Ignored, page_crc64: Checks::Ignored, ..Behaviours::default() },
    ] {
        change(&azure, |world| world.behaviours = behaviours);
        azure.run(suite.pages_of_disks(PagePorts { pages: &pages, blob: &blob, bytes: &bytes }));
    }
}

/// Locks are listed in several pages.
#[test]
fn locks_conform() {
    let azure = fixture();
    change(&azure, |world| world.page = Some(1));
    let (blobs, resources) = (azure.blobs(), azure.resources());
    let location = location();
    let suite = ResourceSuite { resources: &resources, access: &resources, blobs: &blobs, location: &location };
    azure.run(suite.locks(LockPorts { locks: &resources, foreign: &Others(azure.manager.world().clone()) }));
}

/// Source: azure-cli, `test_completion_percent.yaml`: `Succeeded` does not mean that the content has arrived.
#[test]
fn succeeded_snapshot_is_not_complete_during_copy() {
    let azure = fixture();
    let resources = azure.resources();
    change(&azure, |world| world.copy_reads = 4);
    azure.run(async {
        let disk = put(&resources, &disk("disk")).await.unwrap();
        begin(&resources, &disk.id, Access::Write).await.unwrap();
        end(&resources, &disk.id).await.unwrap();
        let source = put(&resources, &snapshot("source", "westeurope", CreationData::copy(&disk.id))).await.unwrap();
        let copy = snapshot("copy", "eastus", CreationData::copy_start(&source.id));
        let first = put(&resources, &copy).await.unwrap();
        assert_eq!(first.provisioning, Provisioning::Succeeded);
        let mut percents = Vec::new();
        for _ in 0..5 {
            let found = resources.get(&copy.id, None).await.unwrap().unwrap();
            let Properties::Snapshot(snapshot) = &found.body.properties else { unreachable!() };
            percents.push((snapshot.completion_percent.unwrap(), snapshot.is_complete()));
        }
        assert_eq!(percents, [(25.0, false), (50.0, false), (75.0, false), (100.0, true), (100.0, true)]);
    });
    let log = azure.manager.log();
    assert!(log.count("GET", "Microsoft.Compute/locations/DiskOperations") > 0);
}

/// The requests have the recorded members, and none that only the platform sets.
#[test]
fn requests_have_recorded_members() {
    let azure = fixture();
    let resources = azure.resources();
    azure.run(async {
        let made = put(&resources, &disk("disk")).await.unwrap();
        assert_eq!(state(&made), Some(DiskState::ReadyToUpload));
        let again =
            PutRequest { body: made.body.clone().with_tags([("a".to_owned(), "b".to_owned())].into()), ..disk("disk") };
        let changed = put(&resources, &again).await.unwrap();
        assert_eq!(changed.body.tags.len(), 1);
        assert_eq!(changed.body.properties, made.body.properties);
    });
    let accepted = azure.manager.log().accepted;
    let data = serde_json::json!({ "createOption": "Upload", "uploadSizeBytes": SIZE + 512 });
    for request in &accepted {
        assert_eq!(request.body["properties"], serde_json::json!({ "creationData": data }), "{request:?}");
    }
    assert_eq!(accepted.len(), 2);
}

/// If no address is returned, the end of access is read from the disk. The URL of the beginning can only be read from
/// the operation.
#[test]
fn access_without_readable_operation() {
    let azure = fixture();
    let resources = azure.resources();
    azure.run(put(&resources, &disk("disk"))).unwrap();
    let disk = id(ResourceType::Disk, "disk");
    change(&azure, |world| world.long_running = LongRunning { links: Links::None, ..LongRunning::default() });
    let refused = azure.run(begin(&resources, &disk, Access::Write)).unwrap_err();
    assert_eq!((refused.kind, refused.code.as_str()), (ErrorKind::Denied, "operation-status-denied"));
    azure.run(end(&resources, &disk)).unwrap();
    let found = azure.run(resources.get(&disk, None)).unwrap().unwrap();
    assert!(matches!(state(&found), Some(DiskState::ReadyToUpload | DiskState::Unattached)), "{found:?}");
}

/// Each reason has a kind: locks, rights, failed operations, throttling with its wait, lost answers.
#[test]
fn refusals_have_kinds() {
    let azure = fixture();
    let resources = azure.resources();
    azure.run(put(&resources, &disk("disk"))).unwrap();
    let target = id(ResourceType::Disk, "disk");
    let lock = |level| Lock::new("keep", GROUP, level);
    // Any lock forbids deletion. A read-only lock also forbids the POST that begins access.
    for (level, locked) in [(LockLevel::CanNotDelete, false), (LockLevel::ReadOnly, true)] {
        change(&azure, |world| world.locks = vec![lock(level)]);
        let removal = azure.run(resources.delete(&target, None)).unwrap_err();
        assert_eq!((removal.kind, removal.code.as_str()), (ErrorKind::Locked, "scope-locked"), "{removal:?}");
        let begun = azure.run(begin(&resources, &target, Access::Write));
        assert_eq!(begun.is_err_and(|error| error.kind == ErrorKind::Locked), locked, "{level:?}");
    }
    change(&azure, |world| world.locks.clear());

    let reader = Role::custom("reader", &["Microsoft.Compute/disks/read", "Microsoft.Compute/disks/write"], &[]);
    change(&azure, |world| *world = world.clone().role(RoleAssignment::new(PRINCIPAL, GROUP, reader)));
    let denied = azure.run(begin(&resources, &target, Access::Write)).unwrap_err();
    assert_eq!((denied.kind, denied.code.as_str()), (ErrorKind::Denied, "authorization-failed"), "{denied:?}");
    assert!(denied.message.contains("beginGetAccess/action"), "{denied:?}");
    change(&azure, |world| {
        world.roles.clear();
        world.authorization = Authorization::Open;
    });

    for (code, message, kind) in [
        ("QuotaExceeded", "The quota of snapshots is used up.", ErrorKind::Quota),
        ("OperationNotAllowed", "It results in exceeding approved disk quota.", ErrorKind::Quota),
        ("InternalExecutionError", "An internal execution error occurred.", ErrorKind::Unavailable),
        ("InvalidParameter", "The size of the disk is invalid.", ErrorKind::Invalid),
    ] {
        let end = OperationEnd::Fails { code: code.to_owned(), message: message.to_owned() };
        change(&azure, |world| world.long_running = LongRunning { end, ..LongRunning::default() });
        let error = azure.run(put(&resources, &disk("failing"))).unwrap_err();
        assert_eq!(error.kind, kind, "{error:?}");
        assert!(!error.code.starts_with("vhd-"), "{error:?}");
    }
    change(&azure, |world| world.long_running = LongRunning::default());

    let puts = Matches::of("PUT", "Microsoft.Compute/disks");
    azure.manager.faults().next(1, puts.clone(), Fault::Status(429, Some(17)));
    let error = azure.run(put(&resources, &disk("other"))).unwrap_err();
    assert_eq!((error.kind, error.retry_after), (ErrorKind::Throttled, Some(Duration::from_secs(17))), "{error:?}");
    azure.manager.faults().next(1, puts, Fault::ResetAfterEffect);
    assert!(azure.run(put(&resources, &disk("other"))).unwrap_err().is_retryable());
    azure.run(put(&resources, &disk("other"))).unwrap();
    let missing = PutRequest { id: ResourceId { resource_group: "nowhere".parse().unwrap(), ..target }, ..disk("x") };
    assert_eq!(azure.run(put(&resources, &missing)).unwrap_err().code, "resource-group-not-found");
}

/// A list is complete or an error.
#[test]
fn list_with_failing_page_is_an_error() {
    let azure = fixture();
    let resources = azure.resources();
    for n in 0..5 {
        azure.run(put(&resources, &disk(&format!("disk-{n}")))).unwrap();
    }
    change(&azure, |world| world.page = Some(2));
    let query = ResourceQuery {
        resource_type: ResourceType::Disk,
        subscription: SubscriptionId::nth_for_tests(1),
        resource_group: None,
        parent: None,
        tags: [].into(),
        tenant: None,
    };
    assert_eq!(azure.run(list_all(&resources, &SystemClock, &query)).unwrap().resources.len(), 5);
    let third = Matches::of("GET", "Microsoft.Compute/disks").containing("skiptoken=4");
    azure.manager.faults().next(100, third.clone(), Fault::Status(500, None));
    let failed = azure.run(list_all(&resources, &SystemClock, &query)).unwrap_err();
    assert_eq!(failed.kind, ErrorKind::Unavailable, "{failed:?}");
    azure.manager.faults().clear();
    azure.manager.faults().next(1, third, Fault::Status(429, Some(0)));
    assert_eq!(azure.run(list_all(&resources, &SystemClock, &query)).unwrap().resources.len(), 5);
}
