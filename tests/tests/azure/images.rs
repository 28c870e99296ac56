//! Managed images against the double of Resource Manager: however it follows its operations, and why it may refuse.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use goldfleet_model::ids::SubscriptionId;
use goldfleet_model::image::{ManagedImageId, ManagedImageSpec, StorageType};
use goldfleet_model::manifest::{Generation, OsType};
use goldfleet_model::store::Container;
use goldfleet_ports::blob_store::BlobStore as _;
use goldfleet_ports::conformance::image_plane::{ImageSuiteLocation as Suite, all, put_smallest_vhd};
use goldfleet_ports::error::{ErrorKind, PortError, PortResult};
use goldfleet_ports::image_plane::{ChangeStatus, ImageService};
use goldfleet_tests::azure::arm::{
    BlobChecks, Collision, Fault, Links, Lock, LockLevel, LongRunning, Matches, OperationEnd, Policy, Role,
    RoleAssignment, TenantState,
};
use goldfleet_tests::azure::fixture::{AzureFixture, PRINCIPAL};

const IMAGES: &str = "Microsoft.Compute/images";
const SUBSCRIPTION: &str = "/subscriptions/00000000-0000-0000-0000-000000000001";

fn container(account: &str) -> Container {
    Container { account: account.parse().unwrap(), container: "vhds".parse().unwrap() }
}

fn spec(azure: &AzureFixture, account: &str) -> ManagedImageSpec {
    let spec = ManagedImageSpec {
        id: ManagedImageId {
            subscription: SubscriptionId::nth_for_tests(1),
            resource_group: "images".parse().unwrap(),
            name: "golden-1".parse().unwrap(),
        },
        region: "westeurope".parse().unwrap(),
        vhd: container(account).blob("golden__1.vhd"),
        os: OsType::Windows,
        generation: Generation::V2,
        storage_type: StorageType::PremiumLrs,
        disk_encryption_set: None,
        tenant: None,
        tags: [("goldfleet-image".to_owned(), "golden".to_owned())].into(),
    };
    let blobs = azure.blobs();
    azure.run(async {
        blobs.ensure_container(&spec.vhd.container).await.unwrap();
        if blobs.properties(&spec.vhd).await.unwrap().is_none() {
            put_smallest_vhd(&blobs, &spec.vhd).await;
        }
    });
    spec
}

/// Puts an image and follows the change to its end.
fn make(azure: &AzureFixture, spec: &ManagedImageSpec) -> PortResult<()> {
    let images = azure.images();
    azure.run(async { follow(&images, images.put(spec).await?).await })
}

async fn follow(images: &dyn ImageService, mut state: ChangeStatus) -> PortResult<()> {
    loop {
        state = match state {
            ChangeStatus::Done => return Ok(()),
            ChangeStatus::Failed(error) => return Err(error),
            ChangeStatus::Pending(pending) => {
                tokio::time::sleep(pending.retry_after.min(Duration::from_millis(50))).await;
                images.poll(&pending).await?
            }
        };
    }
}

fn refusal(azure: &AzureFixture, spec: &ManagedImageSpec) -> PortError {
    make(azure, spec).unwrap_err()
}

fn change(azure: &AzureFixture, change: impl FnOnce(&mut TenantState)) {
    azure.manager.world().write(change);
}

/// Resource Manager may tell by one address or the other, by both, by the image alone, or be done at once.
#[test]
fn image_service_conforms_for_every_polling_style() {
    let azure = AzureFixture::start(1, &["westeurope"]);
    let blobs = azure.blobs();
    azure.run(blobs.ensure_container(&container("stage1westeurope"))).unwrap();
    let suite = Suite {
        subscription: SubscriptionId::nth_for_tests(1),
        resource_group: "images".parse().unwrap(),
        region: "westeurope".parse().unwrap(),
        container: container("stage1westeurope"),
    };
    let base = LongRunning::default();
    for long_running in [
        LongRunning { links: Links::Both, ..base.clone() },
        LongRunning { links: Links::Location, polls: 3, ..base.clone() },
        LongRunning { links: Links::AsyncOperation, address_bytes: 4000, ..base.clone() },
        LongRunning { links: Links::Location, leaves_failed: true, ..base.clone() },
        LongRunning { at_once: true, ..base.clone() },
    ] {
        change(&azure, |world| world.long_running = long_running);
        azure.run(all(&azure.images(), &blobs, &suite));
    }
    change(&azure, |world| world.blob_checks = BlobChecks::AtOnce);
    azure.run(all(&azure.images(), &blobs, &suite));
}

/// With no address at all the image itself is looked at, and what it says is believed.
#[test]
fn operation_without_address_is_polled_on_resource() {
    let azure = AzureFixture::start(1, &["westeurope"]);
    change(&azure, |world| world.long_running = LongRunning { links: Links::None, ..LongRunning::default() });
    make(&azure, &spec(&azure, "stage1westeurope")).unwrap();
    assert_eq!(azure.manager.images().len(), 1);
}

/// The roles of infra/bicep are on the resource group and the account. Operations lie in the subscription, so that Resource
/// Manager may not let their status be read; the image tells then.
#[test]
fn group_and_account_roles_are_sufficient() {
    let azure = AzureFixture::start(1, &["westeurope"]);
    only_roles_on_the_group(&azure);
    let spec = spec(&azure, "stage1westeurope");
    for links in [Links::AsyncOperation, Links::Location] {
        change(&azure, |world| world.long_running = LongRunning { links, ..LongRunning::default() });
        make(&azure, &spec).unwrap();
        let images = azure.images();
        azure.run(async { follow(&images, images.delete(&spec.id, None).await?).await }).unwrap();
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

/// Where only the image tells how far a change is, as there is no address or nobody may look at it, the image may show for a while
/// what it was before: failed, not there, or still there.
#[test]
fn stale_image_state_is_ignored_after_change() {
    let azure = AzureFixture::start(1, &["westeurope"]);
    only_roles_on_the_group(&azure);
    let (spec, images) = (spec(&azure, "stage1westeurope"), azure.images());
    let fails = OperationEnd::Fails { code: "InternalExecutionError".to_owned(), message: "An error.".to_owned() };
    for links in [Links::None, Links::AsyncOperation] {
        let goes = |end: &OperationEnd, looks: u32, stale: u32| {
            let end = end.clone();
            let goes = LongRunning { links, end, polls: looks, stale, leaves_failed: true, ..LongRunning::default() };
            change(&azure, |world| world.long_running = goes);
        };
        goes(&fails, 1, 2);
        assert_eq!(refusal(&azure, &spec).code, "image-failed", "not that it vanished: it is not shown yet");
        goes(&OperationEnd::Succeeds, 1, 2);
        make(&azure, &spec).unwrap();
        azure.run(async { follow(&images, images.delete(&spec.id, None).await?).await }).unwrap();
        assert!(azure.manager.images().is_empty());
        // Over before anybody looked.
        goes(&fails, 0, 0);
        assert_eq!(refusal(&azure, &spec).code, "image-failed");
        azure.run(async { follow(&images, images.delete(&spec.id, None).await?).await }).unwrap_err();
        change(&azure, |world| world.images.clear());
    }
}

/// What is asked for is what the published API takes, and all of it is there.
#[test]
fn put_request_snapshot() {
    let azure = AzureFixture::start(1, &["westeurope"]);
    let set = format!("{SUBSCRIPTION}/resourceGroups/images/providers/Microsoft.Compute/diskEncryptionSets/keys");
    change(&azure, |world| drop(world.disk_encryption_sets.insert(set.clone(), "westeurope".to_owned())));
    let spec = ManagedImageSpec { disk_encryption_set: Some(set.clone()), ..spec(&azure, "stage1westeurope") };
    make(&azure, &spec).unwrap();
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

/// Each reason has a code of its own, and the id that Microsoft's support asks for.
#[test]
fn every_rejection_maps_to_code() {
    let azure = AzureFixture::start(2, &["westeurope", "eastus"]);
    let good = spec(&azure, "stage1westeurope");
    let told = |what: &str, error: PortError, kind: ErrorKind, code: &str| {
        assert_eq!((error.kind, error.code.as_str()), (kind, code), "{what}: {error}");
        assert!(error.request_id.is_some(), "{what}: {error:?}");
        assert!(error.message.contains("golden-1"), "{what}: {error}");
    };
    let elsewhere = ManagedImageSpec {
        id: ManagedImageId { resource_group: "nowhere".parse().unwrap(), ..good.id.clone() },
        ..good.clone()
    };
    told("no group", refusal(&azure, &elsewhere), ErrorKind::NotFound, "resource-group-not-found");
    let foreign = spec(&azure, "stage2westeurope");
    told("other subscription", refusal(&azure, &foreign), ErrorKind::Invalid, "vhd-in-other-subscription");
    let far = spec(&azure, "stage1eastus");
    told("other region", refusal(&azure, &far), ErrorKind::Invalid, "vhd-in-other-region");
    let missing = ManagedImageSpec { vhd: container("stage1westeurope").blob("golden__2.vhd"), ..good.clone() };
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
        world.locks.push(Lock { name: "keep".into(), scope: SUBSCRIPTION.into(), level: LockLevel::CanNotDelete });
    });
    let images = azure.images();
    let locked = azure.run(images.delete(&good.id, None)).unwrap_err();
    assert_eq!((locked.kind, locked.code.as_str()), (ErrorKind::Denied, "scope-locked"), "{locked:?}");
}

/// A subscription of another tenant gets that tenant's token: named by the target, or learnt from the refusal.
#[test]
fn each_tenant_gets_own_token() {
    const TENANT: &str = "72f988bf-86f1-41af-91ab-2d7cd011db47";
    let azure = AzureFixture::start(1, &["westeurope"]);
    let good = spec(&azure, "stage1westeurope");
    change(&azure, |world| {
        let subscription = world.subscriptions.iter_mut().find(|s| s.id.ends_with('1')).unwrap();
        subscription.tenant = TENANT.to_owned();
    });
    make(&azure, &ManagedImageSpec { tenant: Some(TENANT.to_owned()), ..good.clone() }).unwrap();
    make(&azure, &good).unwrap();
    assert_eq!(azure.manager.images().len(), 1);
}

/// 429 says how long to wait; what may pass is told apart from what stays.
#[test]
fn throttling_and_outages_are_transient() {
    let azure = AzureFixture::start(1, &["westeurope"]);
    let good = spec(&azure, "stage1westeurope");
    azure.manager.faults().next(1, Matches::of("PUT", IMAGES), Fault::Status(429, Some(17)));
    let error = refusal(&azure, &good);
    assert_eq!((error.kind, error.retry_after), (ErrorKind::Throttled, Some(Duration::from_secs(17))), "{error:?}");
    for fault in [Fault::Status(503, None), Fault::ResetBeforeEffect, Fault::ResetAfterEffect] {
        azure.manager.faults().next(1, Matches::of("PUT", IMAGES), fault.clone());
        let error = refusal(&azure, &good);
        assert!(error.is_retryable(), "{fault:?}: {error:?}");
    }
    // Reads are tried again on the way.
    azure.manager.faults().next(2, Matches::of("GET", IMAGES), Fault::ResetBeforeEffect);
    let images = azure.images();
    azure.run(images.get(&good.id, None)).unwrap();
    // A change that another one pushed aside may be asked for again.
    change(&azure, |world| {
        world.collision = Collision::Preempts;
        world.long_running = LongRunning { end: OperationEnd::Canceled, ..LongRunning::default() };
    });
    azure.run(async { follow(&images, images.delete(&good.id, None).await?).await }).ok();
}
