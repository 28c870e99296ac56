//! Managed images with the double of Resource Manager: all ways of following operations, and all reasons for a
//! rejection.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use goldfleet_model::ids::SubscriptionId;
use goldfleet_model::image::StorageType;
use goldfleet_model::manifest::{Generation, OsType};
use goldfleet_model::resource::{ImageProperties, Properties, ResourceBody, ResourceId, ResourceType};
use goldfleet_model::store::{BlobAddress, Container};
use goldfleet_ports::blob_store::BlobStore as _;
use goldfleet_ports::conformance::resources::put_smallest_vhd;
use goldfleet_ports::error::{ErrorKind, PortError, PortResult};
use goldfleet_ports::resources::{ChangeStatus, PutMode, PutRequest, ResourceService};
use goldfleet_tests::azure::arm::{
    Collision, Fault, Links, Lock, LockLevel, LongRunning, Matches, OperationEnd, Policy, Role, RoleAssignment,
    TenantState,
};
use goldfleet_tests::azure::fixture::{AzureFixture, PRINCIPAL};

const IMAGES: &str = "Microsoft.Compute/images";
const SUBSCRIPTION: &str = "/subscriptions/00000000-0000-0000-0000-000000000001";

fn container(account: &str) -> Container {
    Container { account: account.parse().unwrap(), container: "vhds".parse().unwrap() }
}

/// A request for an image of an existing VHD in a staging account.
fn request(azure: &AzureFixture, account: &str) -> PutRequest {
    let (vhd, blobs) = (container(account).blob("golden__1.vhd"), azure.blobs());
    azure.run(async {
        blobs.ensure_container(&vhd.container).await.unwrap();
        if blobs.properties(&vhd).await.unwrap().is_none() {
            put_smallest_vhd(&blobs, &vhd).await;
        }
    });
    request_for(azure, &vhd, None)
}

fn request_for(azure: &AzureFixture, vhd: &BlobAddress, encryption_set: Option<&str>) -> PutRequest {
    let url = azure.resources().blob_url(vhd);
    let image = ImageProperties::of_vhd(url, OsType::Windows, Generation::V2, StorageType::PremiumLrs)
        .with_encryption_set(encryption_set);
    let body = ResourceBody::new("westeurope".parse().unwrap(), Properties::Image(image));
    PutRequest {
        id: ResourceId {
            subscription: SubscriptionId::nth_for_tests(1),
            resource_group: "images".parse().unwrap(),
            resource_type: ResourceType::Image,
            name: "golden-1".parse().unwrap(),
        },
        tenant: None,
        mode: PutMode::CreateOrUpdate,
        body: body.with_tags([("goldfleet-image".to_owned(), "golden".to_owned())].into()),
    }
}

/// Puts an image, and follows the operation until it ends.
fn make(azure: &AzureFixture, request: &PutRequest) -> PortResult<()> {
    let resources = azure.resources();
    azure.run(async { follow(&resources, resources.put(request).await?).await })
}

/// Deletes an image, and follows the operation until it ends.
fn remove(azure: &AzureFixture, id: &ResourceId) -> PortResult<()> {
    let resources = azure.resources();
    azure.run(async { follow(&resources, resources.delete(id, None).await?).await })
}

async fn follow(resources: &dyn ResourceService, mut state: ChangeStatus) -> PortResult<()> {
    loop {
        state = match state {
            ChangeStatus::Done => return Ok(()),
            ChangeStatus::Failed(error) => return Err(error),
            ChangeStatus::Pending(pending) => {
                tokio::time::sleep(pending.retry_after.min(Duration::from_millis(50))).await;
                resources.poll(&pending).await?
            }
        };
    }
}

fn refusal(azure: &AzureFixture, request: &PutRequest) -> PortError {
    make(azure, request).unwrap_err()
}

fn change(azure: &AzureFixture, change: impl FnOnce(&mut TenantState)) {
    azure.manager.world().write(change);
}

/// Without an address, the image itself is polled.
#[test]
fn operation_without_address_is_polled_on_resource() {
    let azure = AzureFixture::start(1, &["westeurope"]);
    change(&azure, |world| world.long_running = LongRunning { links: Links::None, ..LongRunning::default() });
    make(&azure, &request(&azure, "stage1westeurope")).unwrap();
    assert_eq!(azure.manager.images().len(), 1);
}

/// The roles of infra/bicep are assigned on the resource group and the account. Operations are resources of the
/// subscription, so Resource Manager may not let their status be read. The image is polled then.
#[test]
fn group_and_account_roles_are_sufficient() {
    let azure = AzureFixture::start(1, &["westeurope"]);
    only_roles_on_the_group(&azure);
    let request = request(&azure, "stage1westeurope");
    for links in [Links::AsyncOperation, Links::Location] {
        change(&azure, |world| world.long_running = LongRunning { links, ..LongRunning::default() });
        make(&azure, &request).unwrap();
        remove(&azure, &request.id).unwrap();
        assert!(azure.manager.images().is_empty());
    }
}

/// Gives the fleet the roles of infra/bicep and no other.
fn only_roles_on_the_group(azure: &AzureFixture) {
    let group = format!("{SUBSCRIPTION}/resourceGroups/images");
    let account = format!("{group}/providers/Microsoft.Storage/storageAccounts/stage1westeurope");
    let maker = [
        "Microsoft.Resources/subscriptions/resourceGroups/read",
        "Microsoft.Compute/images/read",
        "Microsoft.Compute/images/write",
        "Microsoft.Compute/images/delete",
        "Microsoft.Compute/diskEncryptionSets/read",
        "Microsoft.Compute/locations/operations/read",
        "Microsoft.Compute/locations/capsOperations/read",
    ];
    let reader = ["Microsoft.Storage/storageAccounts/read", "Microsoft.Storage/storageAccounts/listKeys/action"];
    change(azure, |world| {
        world.roles = vec![
            RoleAssignment::new(PRINCIPAL, &group, Role::custom("maker", &maker, &[])),
            RoleAssignment::new(PRINCIPAL, &account, Role::custom("reader", &reader, &[])),
        ];
        world.operations_by_role = true;
    });
}

/// If only the image shows the state of a change (because there is no address, or its status must not be read), the
/// image may return its previous state for a while: failed, missing, or still existing. That state is ignored.
#[test]
fn stale_image_state_is_ignored_after_change() {
    let azure = AzureFixture::start(1, &["westeurope"]);
    only_roles_on_the_group(&azure);
    let request = request(&azure, "stage1westeurope");
    let fails = OperationEnd::Fails { code: "InternalExecutionError".to_owned(), message: "An error.".to_owned() };
    for links in [Links::None, Links::AsyncOperation] {
        let goes = |end: &OperationEnd, looks: u32, stale: u32| {
            let end = end.clone();
            let goes = LongRunning { links, end, polls: looks, stale, leaves_failed: true, ..LongRunning::default() };
            change(&azure, |world| world.long_running = goes);
        };
        goes(&fails, 1, 2);
        assert_eq!(refusal(&azure, &request).code, "image-failed", "not that it vanished: it is not shown yet");
        goes(&OperationEnd::Succeeds, 1, 2);
        make(&azure, &request).unwrap();
        remove(&azure, &request.id).unwrap();
        assert!(azure.manager.images().is_empty());
        // The operation has ended before the first poll.
        goes(&fails, 0, 0);
        assert_eq!(refusal(&azure, &request).code, "image-failed");
        remove(&azure, &request.id).unwrap_err();
        change(&azure, |world| world.images.clear());
    }
}

/// The request has all members that the published API accepts and goldfleet needs.
#[test]
fn put_request_snapshot() {
    let azure = AzureFixture::start(1, &["westeurope"]);
    let set = format!("{SUBSCRIPTION}/resourceGroups/images/providers/Microsoft.Compute/diskEncryptionSets/keys");
    change(&azure, |world| drop(world.disk_encryption_sets.insert(set.clone(), "westeurope".to_owned())));
    request(&azure, "stage1westeurope");
    let vhd = container("stage1westeurope").blob("golden__1.vhd");
    make(&azure, &request_for(&azure, &vhd, Some(&set))).unwrap();
    let accepted = azure.manager.log().accepted;
    let body = &accepted[0].body;
    assert_eq!(body["location"], "westeurope");
    assert_eq!(body["properties"]["hyperVGeneration"], "V2");
    let disk = &body["properties"]["storageProfile"]["osDisk"];
    assert_eq!((&disk["osType"], &disk["osState"]), (&"Windows".into(), &"Generalized".into()));
    assert_eq!(disk["storageAccountType"], "Premium_LRS");
    assert_eq!(disk["diskEncryptionSet"]["id"], set);
    assert!(disk["blobUri"].as_str().unwrap().ends_with("/stage1westeurope/vhds/golden__1.vhd"), "{disk:#}");
    assert_eq!(body["tags"]["goldfleet-image"], "golden");
}

/// Each reason has a distinct code, and the request id that Microsoft's support asks for.
#[test]
fn every_rejection_maps_to_code() {
    let azure = AzureFixture::start(2, &["westeurope", "eastus"]);
    let good = request(&azure, "stage1westeurope");
    let told = |what: &str, error: PortError, kind: ErrorKind, code: &str| {
        assert_eq!((error.kind, error.code.as_str()), (kind, code), "{what}: {error}");
        assert!(error.request_id.is_some(), "{what}: {error:?}");
        assert!(error.message.contains("golden-1"), "{what}: {error}");
    };
    let elsewhere =
        PutRequest { id: ResourceId { resource_group: "nowhere".parse().unwrap(), ..good.id.clone() }, ..good.clone() };
    told("no group", refusal(&azure, &elsewhere), ErrorKind::NotFound, "resource-group-not-found");
    let foreign = request(&azure, "stage2westeurope");
    told("other subscription", refusal(&azure, &foreign), ErrorKind::Invalid, "vhd-in-other-subscription");
    let far = request(&azure, "stage1eastus");
    told("other region", refusal(&azure, &far), ErrorKind::Invalid, "vhd-in-other-region");
    let missing = request_for(&azure, &container("stage1westeurope").blob("golden__2.vhd"), None);
    told("no vhd", refusal(&azure, &missing), ErrorKind::Unavailable, "vhd-not-accessible");

    change(&azure, |world| world.policies.push(Policy::required_tag(SUBSCRIPTION, "cost-centre")));
    told("policy", refusal(&azure, &good), ErrorKind::Denied, "policy-denied");
    change(&azure, |world| world.policies.clear());

    let someone = RoleAssignment::new("11111111-0000-0000-0000-000000000000", SUBSCRIPTION, Role::owner());
    change(&azure, |world| world.roles = vec![someone]);
    told("role", refusal(&azure, &good), ErrorKind::Denied, "authorization-failed");
    change(&azure, |world| world.roles = vec![RoleAssignment::new(PRINCIPAL, "/", Role::owner())]);

    let unregistered = |world: &mut TenantState, registered: bool| {
        let compute = "Microsoft.Compute".to_owned();
        let subscription = world.subscriptions.iter_mut().find(|s| s.id.ends_with('1')).unwrap();
        subscription.unregistered = [compute].into_iter().filter(|_| !registered).collect();
    };
    change(&azure, |world| unregistered(world, false));
    told("provider", refusal(&azure, &good), ErrorKind::Invalid, "provider-not-registered");
    change(&azure, |world| unregistered(world, true));

    let fails = |code: &str, message: &str| LongRunning {
        end: OperationEnd::Fails { code: code.to_owned(), message: message.to_owned() },
        ..LongRunning::default()
    };
    change(&azure, |world| world.long_running = fails("SharingNotEnabled", "Sharing of images is off."));
    told("sharing", refusal(&azure, &good), ErrorKind::Invalid, "image-sharing-off");
    change(&azure, |world| world.long_running = LongRunning::default());
    make(&azure, &good).unwrap();

    change(&azure, |world| {
        world.locks.push(Lock::new("keep", SUBSCRIPTION, LockLevel::CanNotDelete));
    });
    let locked = remove(&azure, &good.id).unwrap_err();
    assert_eq!((locked.kind, locked.code.as_str()), (ErrorKind::Locked, "scope-locked"), "{locked:?}");
}

/// A subscription of another tenant gets that tenant's token. The tenant is named by the target, or by the rejection.
#[test]
fn each_tenant_gets_own_token() {
    const TENANT: &str = "72f988bf-86f1-41af-91ab-2d7cd011db47";
    let azure = AzureFixture::start(1, &["westeurope"]);
    let good = request(&azure, "stage1westeurope");
    change(&azure, |world| {
        let subscription = world.subscriptions.iter_mut().find(|s| s.id.ends_with('1')).unwrap();
        subscription.tenant = TENANT.to_owned();
    });
    make(&azure, &PutRequest { tenant: Some(TENANT.to_owned()), ..good.clone() }).unwrap();
    make(&azure, &good).unwrap();
    assert_eq!(azure.manager.images().len(), 1);
}

/// 429 contains the time to wait. Transient errors are distinguished from permanent ones.
#[test]
fn throttling_and_outages_are_transient() {
    let azure = AzureFixture::start(1, &["westeurope"]);
    let good = request(&azure, "stage1westeurope");
    azure.manager.faults().next(1, Matches::of("PUT", IMAGES), Fault::Status(429, Some(17)));
    let error = refusal(&azure, &good);
    assert_eq!((error.kind, error.retry_after), (ErrorKind::Throttled, Some(Duration::from_secs(17))), "{error:?}");
    for fault in [Fault::Status(503, None), Fault::ResetBeforeEffect, Fault::ResetAfterEffect] {
        azure.manager.faults().next(1, Matches::of("PUT", IMAGES), fault.clone());
        let error = refusal(&azure, &good);
        assert!(error.is_retryable(), "{fault:?}: {error:?}");
    }
    // Reads are retried inside the adapter.
    azure.manager.faults().next(2, Matches::of("GET", IMAGES), Fault::ResetBeforeEffect);
    azure.run(azure.resources().get(&good.id, None)).unwrap();
    // A change that was preempted by another one may be requested again.
    change(&azure, |world| {
        world.collision = Collision::Preempts;
        world.long_running = LongRunning { end: OperationEnd::Canceled, ..LongRunning::default() };
    });
    remove(&azure, &good.id).ok();
}
