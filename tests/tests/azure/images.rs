//! Managed images against the double of Resource Manager: however it follows its operations, and why it may refuse.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use goldfleet_model::ids::SubscriptionId;
use goldfleet_model::image::{ManagedImageId, ManagedImageSpec, StorageType};
use goldfleet_model::manifest::{Generation, OsType};
use goldfleet_model::store::Container;
use goldfleet_ports::blob_store::BlobStore as _;
use goldfleet_ports::conformance::image_plane::{Site as Suite, all, put_smallest_vhd};
use goldfleet_ports::error::{ErrorKind, PortError, PortResult};
use goldfleet_ports::image_plane::{ImagePlane, Underway};
use goldfleet_tests::azure::arm::{
    BlobChecks, Collision, End, Fault, Links, Lock, LockLevel, LongRunning, Matches, Policy, Role, RoleAssignment,
    World,
};
use goldfleet_tests::azure::site::{PRINCIPAL, Site};

const IMAGES: &str = "Microsoft.Compute/images";
const SUBSCRIPTION: &str = "/subscriptions/00000000-0000-0000-0000-000000000001";

fn container(account: &str) -> Container {
    Container { account: account.parse().unwrap(), container: "vhds".parse().unwrap() }
}

fn spec(site: &Site, account: &str) -> ManagedImageSpec {
    let spec = ManagedImageSpec {
        id: ManagedImageId {
            subscription: SubscriptionId::numbered(1),
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
    let blobs = site.blobs();
    site.run(async {
        blobs.ensure_container(&spec.vhd.container).await.unwrap();
        if blobs.properties(&spec.vhd).await.unwrap().is_none() {
            put_smallest_vhd(&blobs, &spec.vhd).await;
        }
    });
    spec
}

/// Puts an image and follows the change to its end.
fn make(site: &Site, spec: &ManagedImageSpec) -> PortResult<()> {
    let images = site.images();
    site.run(async { follow(&images, images.put(spec).await?).await })
}

async fn follow(images: &dyn ImagePlane, mut state: Underway) -> PortResult<()> {
    loop {
        state = match state {
            Underway::Done => return Ok(()),
            Underway::Failed(error) => return Err(error),
            Underway::Pending(pending) => {
                tokio::time::sleep(pending.retry_after.min(Duration::from_millis(50))).await;
                images.poll(&pending).await?
            }
        };
    }
}

fn refusal(site: &Site, spec: &ManagedImageSpec) -> PortError {
    make(site, spec).unwrap_err()
}

fn change(site: &Site, change: impl FnOnce(&mut World)) {
    site.manager.world().change(change);
}

/// Resource Manager may tell by one address or the other, by both, by the image alone, or be done at once.
#[test]
fn the_image_plane_conforms_however_operations_are_followed() {
    let site = Site::start(1, &["westeurope"]);
    let blobs = site.blobs();
    site.run(blobs.ensure_container(&container("stage1westeurope"))).unwrap();
    let suite = Suite {
        subscription: SubscriptionId::numbered(1),
        resource_group: "images".parse().unwrap(),
        region: "westeurope".parse().unwrap(),
        container: container("stage1westeurope"),
    };
    let base = LongRunning::default();
    for long_running in [
        LongRunning { links: Links::Both, ..base.clone() },
        LongRunning { links: Links::Location, looks: 3, ..base.clone() },
        LongRunning { links: Links::AsyncOperation, address_bytes: 4000, ..base.clone() },
        LongRunning { links: Links::Location, leaves_failed: true, ..base.clone() },
        LongRunning { at_once: true, ..base.clone() },
    ] {
        change(&site, |world| world.long_running = long_running);
        site.run(all(&site.images(), &blobs, &suite));
    }
    change(&site, |world| world.blob_checks = BlobChecks::AtOnce);
    site.run(all(&site.images(), &blobs, &suite));
}

/// With no address at all the image itself is looked at, and what it says is believed.
#[test]
fn an_operation_without_an_address_is_followed_by_the_image() {
    let site = Site::start(1, &["westeurope"]);
    change(&site, |world| world.long_running = LongRunning { links: Links::None, ..LongRunning::default() });
    make(&site, &spec(&site, "stage1westeurope")).unwrap();
    assert_eq!(site.manager.images().len(), 1);
}

/// The roles of infra/bicep are on the resource group and the account. Operations lie in the subscription, so that Resource
/// Manager may not let their status be read; the image tells then.
#[test]
fn roles_on_a_group_and_an_account_are_enough() {
    let site = Site::start(1, &["westeurope"]);
    only_roles_on_the_group(&site);
    let spec = spec(&site, "stage1westeurope");
    for links in [Links::AsyncOperation, Links::Location] {
        change(&site, |world| world.long_running = LongRunning { links, ..LongRunning::default() });
        make(&site, &spec).unwrap();
        let images = site.images();
        site.run(async { follow(&images, images.delete(&spec.id, None).await?).await }).unwrap();
        assert!(site.manager.images().is_empty());
    }
}

/// Gives the fleet the roles of infra/bicep and no other.
fn only_roles_on_the_group(site: &Site) {
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
    change(site, |world| {
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
fn what_an_image_was_before_a_change_says_nothing_of_the_change() {
    let site = Site::start(1, &["westeurope"]);
    only_roles_on_the_group(&site);
    let (spec, images) = (spec(&site, "stage1westeurope"), site.images());
    let fails = End::Fails { code: "InternalExecutionError".to_owned(), message: "An error.".to_owned() };
    for links in [Links::None, Links::AsyncOperation] {
        let goes = |end: &End, looks: u32, stale: u32| {
            let end = end.clone();
            let goes = LongRunning { links, end, looks, stale, leaves_failed: true, ..LongRunning::default() };
            change(&site, |world| world.long_running = goes);
        };
        goes(&fails, 1, 2);
        assert_eq!(refusal(&site, &spec).code, "image-failed", "not that it vanished: it is not shown yet");
        goes(&End::Succeeds, 1, 2);
        make(&site, &spec).unwrap();
        site.run(async { follow(&images, images.delete(&spec.id, None).await?).await }).unwrap();
        assert!(site.manager.images().is_empty());
        // Over before anybody looked.
        goes(&fails, 0, 0);
        assert_eq!(refusal(&site, &spec).code, "image-failed");
        site.run(async { follow(&images, images.delete(&spec.id, None).await?).await }).unwrap_err();
        change(&site, |world| world.images.clear());
    }
}

/// What is asked for is what the published API takes, and all of it is there.
#[test]
fn the_request_is_complete() {
    let site = Site::start(1, &["westeurope"]);
    let set = format!("{SUBSCRIPTION}/resourceGroups/images/providers/Microsoft.Compute/diskEncryptionSets/keys");
    change(&site, |world| drop(world.disk_encryption_sets.insert(set.clone(), "westeurope".to_owned())));
    let spec = ManagedImageSpec { disk_encryption_set: Some(set.clone()), ..spec(&site, "stage1westeurope") };
    make(&site, &spec).unwrap();
    let accepted = site.manager.log().accepted;
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
fn every_refusal_has_its_reason() {
    let site = Site::start(2, &["westeurope", "eastus"]);
    let good = spec(&site, "stage1westeurope");
    let told = |what: &str, error: PortError, kind: ErrorKind, code: &str| {
        assert_eq!((error.kind, error.code.as_str()), (kind, code), "{what}: {error}");
        assert!(error.request_id.is_some(), "{what}: {error:?}");
        assert!(error.message.contains("golden-1"), "{what}: {error}");
    };
    let elsewhere = ManagedImageSpec {
        id: ManagedImageId { resource_group: "nowhere".parse().unwrap(), ..good.id.clone() },
        ..good.clone()
    };
    told("no group", refusal(&site, &elsewhere), ErrorKind::NotFound, "resource-group-not-found");
    let foreign = spec(&site, "stage2westeurope");
    told("other subscription", refusal(&site, &foreign), ErrorKind::Invalid, "vhd-in-other-subscription");
    let far = spec(&site, "stage1eastus");
    told("other region", refusal(&site, &far), ErrorKind::Invalid, "vhd-in-other-region");
    let missing = ManagedImageSpec { vhd: container("stage1westeurope").blob("golden__2.vhd"), ..good.clone() };
    told("no vhd", refusal(&site, &missing), ErrorKind::NotFound, "vhd-not-found");

    change(&site, |world| world.policies.push(Policy::required_tag(SUBSCRIPTION, "cost-centre")));
    told("policy", refusal(&site, &good), ErrorKind::Denied, "policy-denied");
    change(&site, |world| world.policies.clear());

    let someone = RoleAssignment::new("11111111-0000-0000-0000-000000000000", SUBSCRIPTION, Role::owner());
    change(&site, |world| world.roles = vec![someone]);
    told("role", refusal(&site, &good), ErrorKind::Denied, "authorization-failed");
    change(&site, |world| world.roles = vec![RoleAssignment::new(PRINCIPAL, "/", Role::owner())]);

    let unregistered = |world: &mut World, registered: bool| {
        let compute = "Microsoft.Compute".to_owned();
        let subscription = world.subscriptions.iter_mut().find(|s| s.id.ends_with('1')).unwrap();
        subscription.unregistered = [compute].into_iter().filter(|_| !registered).collect();
    };
    change(&site, |world| unregistered(world, false));
    told("provider", refusal(&site, &good), ErrorKind::Invalid, "provider-not-registered");
    change(&site, |world| unregistered(world, true));

    let fails = |code: &str, message: &str| LongRunning {
        end: End::Fails { code: code.to_owned(), message: message.to_owned() },
        ..LongRunning::default()
    };
    change(&site, |world| world.long_running = fails("SharingNotEnabled", "Sharing of images is off."));
    told("sharing", refusal(&site, &good), ErrorKind::Invalid, "image-sharing-off");
    change(&site, |world| world.long_running = LongRunning::default());
    make(&site, &good).unwrap();

    change(&site, |world| {
        world.locks.push(Lock { name: "keep".into(), scope: SUBSCRIPTION.into(), level: LockLevel::CanNotDelete });
    });
    let images = site.images();
    let locked = site.run(images.delete(&good.id, None)).unwrap_err();
    assert_eq!((locked.kind, locked.code.as_str()), (ErrorKind::Denied, "scope-locked"), "{locked:?}");
}

/// A subscription of another tenant gets that tenant's token: named by the target, or learnt from the refusal.
#[test]
fn other_tenants_get_their_own_tokens() {
    const TENANT: &str = "72f988bf-86f1-41af-91ab-2d7cd011db47";
    let site = Site::start(1, &["westeurope"]);
    let good = spec(&site, "stage1westeurope");
    change(&site, |world| {
        let subscription = world.subscriptions.iter_mut().find(|s| s.id.ends_with('1')).unwrap();
        subscription.tenant = TENANT.to_owned();
    });
    make(&site, &ManagedImageSpec { tenant: Some(TENANT.to_owned()), ..good.clone() }).unwrap();
    make(&site, &good).unwrap();
    assert_eq!(site.manager.images().len(), 1);
}

/// 429 says how long to wait; what may pass is told apart from what stays.
#[test]
fn throttling_and_outages_may_pass() {
    let site = Site::start(1, &["westeurope"]);
    let good = spec(&site, "stage1westeurope");
    site.manager.faults().next(1, Matches::of("PUT", IMAGES), Fault::Status(429, Some(17)));
    let error = refusal(&site, &good);
    assert_eq!((error.kind, error.retry_after), (ErrorKind::Throttled, Some(Duration::from_secs(17))), "{error:?}");
    for fault in [Fault::Status(503, None), Fault::ResetBeforeEffect, Fault::ResetAfterEffect] {
        site.manager.faults().next(1, Matches::of("PUT", IMAGES), fault.clone());
        let error = refusal(&site, &good);
        assert!(error.is_retryable(), "{fault:?}: {error:?}");
    }
    // Reads are tried again on the way.
    site.manager.faults().next(2, Matches::of("GET", IMAGES), Fault::ResetBeforeEffect);
    let images = site.images();
    site.run(images.get(&good.id, None)).unwrap();
    // A change that another one pushed aside may be asked for again.
    change(&site, |world| {
        world.collision = Collision::Preempts;
        world.long_running = LongRunning { end: End::Canceled, ..LongRunning::default() };
    });
    site.run(async { follow(&images, images.delete(&good.id, None).await?).await }).ok();
}
