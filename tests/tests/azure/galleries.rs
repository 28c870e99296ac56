//! Gallery versions with the double of Resource Manager, which checks each request as Azure's specification demands.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;

use goldfleet_dispatcher::control::galleries::promote::{PromoteRequest, promote};
use goldfleet_dispatcher::control::galleries::watch::watch;
use goldfleet_dispatcher::control::platform::request::{PlatformRequest, request_from};
use goldfleet_dispatcher::control::request::Terms;
use goldfleet_dispatcher::control::status::{ReportedState, Status};
use goldfleet_dispatcher::control::verify::record::record_result;
use goldfleet_dispatcher::control::verify::{VerifyOptions, VerifyScope, verify};
use goldfleet_model::ids::JobId;
use goldfleet_sources::SourceLocation;
use goldfleet_tests::azure::arm::{
    Authorization, DiskKind, GalleryItem, GalleryLevel, ImageState, Links, LongRunning, TenantState,
};
use goldfleet_tests::azure::fixture::AzureFixture;
use goldfleet_tests::fleet::InProcessFleet;
use goldfleet_tests::process_fixture;
use serde_json::{Value, json};

const MIB: u64 = 1 << 20;
const GROUP: &str =
    "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/images/providers/Microsoft.Compute";
const GALLERY: &str = r#"
[[gallery]]
subscription = "00000000-0000-0000-0000-000000000001"
resource_group = "images"
name = "corp"
region = "westeurope"
create_definition = true
end_of_life_days = 90
features = { DiskControllerTypes = "SCSI, NVMe", IsAcceleratedNetworkSupported = "True" }
regions = [{ name = "westeurope", replicas = 2, storage = "Standard_ZRS" }, { name = "eastus" }]
"#;

struct Scene {
    azure: AzureFixture,
    fleet: InProcessFleet,
}

impl Scene {
    fn new(links: Links) -> Self {
        let azure = AzureFixture::start(1, &["westeurope", "eastus"]);
        let fleet = azure.fleet(&process_fixture::golden());
        std::fs::write(&fleet.config.targets.file, GALLERY).unwrap();
        let scene = Self { azure, fleet };
        scene.change(|world| {
            world.roles.clear();
            world.authorization = Authorization::Open;
            world.long_running = LongRunning { links, ..LongRunning::default() };
            world.galleries.push(GalleryItem {
                level: GalleryLevel::Gallery,
                id: format!("{GROUP}/galleries/corp"),
                region: "westeurope".to_owned(),
                tags: BTreeMap::new(),
                properties: json!({}),
                state: ImageState::Succeeded,
                replicas: BTreeMap::new(),
            });
            let properties = json!({
                "creationData": { "createOption": "Empty" }, "diskSizeBytes": 20 * MIB, "diskSizeGB": 1, "diskState": "Unattached",
                "uniqueId": "unique", "osType": "Linux", "hyperVGeneration": "V2", "networkAccessPolicy": "DenyAll",
                "publicNetworkAccess": "Disabled", "timeCreated": "2026-11-01T00:00:00Z", "incremental": true,
                "securityProfile": { "securityType": "TrustedLaunch" },
            });
            world.add_disk(DiskKind::Snapshot, &format!("{GROUP}/snapshots/golden"), "westeurope", properties);
        });
        scene
    }

    fn change(&self, change: impl FnOnce(&mut TenantState)) {
        self.azure.manager.world().write(change);
    }

    fn dispatch(&self, version: &str) -> (JobId, Status) {
        let control = self.fleet.control_with_own_ports();
        let from = SourceLocation::Snapshot(format!("{GROUP}/snapshots/golden").parse().unwrap());
        let (image, version) = ("golden".parse().unwrap(), version.parse().unwrap());
        let request = PlatformRequest { from, image, version, os: None, generation: None };
        self.azure.run(async {
            let job = request_from(&control, &request, &[], Terms::default()).await.unwrap().job.id;
            let status = self.fleet.run(&self.fleet.ports, 1, &job).await;
            (job, status)
        })
    }

    /// A gallery, a definition or a version as a GET returns it.
    fn item(&self, path: &str) -> Value {
        let id = format!("{GROUP}/galleries/corp{path}");
        let found = self.azure.manager.galleries().into_iter().find(|found| found["id"] == id.as_str());
        found.unwrap_or_else(|| panic!("there is no {id}"))
    }

    fn sweep(&self) {
        self.azure.run(async { watch(&self.fleet.control_with_own_ports()).await }).unwrap();
    }
}

/// The snapshot of the gallery keeps Trusted Launch, and no temporary is left.
#[test]
fn requests_of_a_publication_follow_the_specification() {
    for links in [Links::AsyncOperation, Links::Location] {
        let scene = Scene::new(links);
        let (job, status) = scene.dispatch("1.0.10");
        assert_eq!(status.state, ReportedState::Succeeded, "{status:#?}");
        let definition = scene.item("/images/golden");
        assert_eq!(definition["properties"]["features"][0]["value"], "TrustedLaunchSupported", "{definition:#}");
        let version = scene.item("/images/golden/versions/1.0.10");
        let profile = &version["properties"]["publishingProfile"];
        assert_eq!(profile["excludeFromLatest"], true, "{version:#}");
        let regions: Vec<_> = profile["targetRegions"]
            .as_array()
            .unwrap()
            .iter()
            .map(|region| (&region["name"], &region["storageAccountType"]))
            .collect();
        let expected = [("West Europe", "Standard_ZRS"), ("East US", "Standard_LRS")]
            .map(|(name, storage)| (json!(name), json!(storage)));
        assert_eq!(regions, expected.each_ref().map(|(name, storage)| (name, storage)));
        assert_eq!(scene.azure.manager.disks().len(), 1, "only the source: {:#?}", scene.azure.manager.disks());
        promoted(&scene, &job);
        let version = scene.item("/images/golden/versions/1.0.10");
        assert_eq!(version["properties"]["publishingProfile"]["excludeFromLatest"], false, "{version:#}");
    }
}

fn promoted(scene: &Scene, job: &JobId) {
    let control = scene.fleet.control_with_own_ports();
    let request =
        PromoteRequest { image: "golden".parse().unwrap(), version: "1.0.10".parse().unwrap(), backwards: false };
    scene.azure.run(async {
        let row = control.jobs.job(job).await.unwrap().value;
        let places = VerifyScope::scope_of_job(&control, &row).await.unwrap();
        let how = VerifyOptions::default();
        let report = verify(&control, row.image(), &places, how, &|_| ()).await.unwrap();
        assert!(report.faults.is_empty() && report.others > 0, "{report:?}");
        record_result(&control.jobs, &row, row.image().unwrap(), &report, how).await.unwrap();
        promote(&control, &request).await.unwrap();
    });
}

/// A region that fails once is taken out and added again. If it fails again, the operation names it.
#[test]
fn a_failing_region_is_added_again_and_named() {
    let scene = Scene::new(Links::AsyncOperation);
    scene.change(|world| world.replication.failing = [("eastus".to_owned(), 1)].into());
    assert_eq!(scene.dispatch("1.0.0").1.state, ReportedState::Succeeded);
    scene.change(|world| world.replication.failing = [("eastus".to_owned(), 2)].into());
    let (job, status) = scene.dispatch("1.0.1");
    assert_eq!(status.failures[0].code, "gallery-region-failed", "{status:#?}");
    assert!(status.failures[0].reason.contains("1 of 2 regions; eastus: The replication job failed"), "{status:#?}");
    let retried = scene.azure.run(async {
        scene.fleet.retry(&job).await;
        scene.fleet.run(&scene.fleet.ports, 1, &job).await
    });
    assert_eq!(retried.state, ReportedState::Succeeded, "{retried:#?}");
}

/// The service refuses more replicas than its quota, and the operation fails at once with that reason.
#[test]
fn a_quota_is_reported() {
    let scene = Scene::new(Links::AsyncOperation);
    scene.change(|world| world.replication.limit = 2);
    let (_, status) = scene.dispatch("1.0.0");
    assert_eq!(status.failures[0].code, "quota-exceeded", "{status:#?}");
}

#[test]
fn a_region_that_another_tool_removes_is_added_again() {
    let scene = Scene::new(Links::AsyncOperation);
    assert_eq!(scene.dispatch("1.0.0").1.state, ReportedState::Succeeded);
    scene.change(|world| {
        let version = world.galleries.iter_mut().find(|item| item.level == GalleryLevel::Version).unwrap();
        let regions = version.properties["publishingProfile"]["targetRegions"].as_array_mut().unwrap();
        regions.retain(|region| region["name"] != "eastus");
        regions.push(json!({ "name": "Japan East", "regionalReplicaCount": 1, "storageAccountType": "Standard_LRS" }));
        version.replicas.remove("eastus");
    });
    scene.sweep();
    let version = scene.item("/images/golden/versions/1.0.0");
    let regions = version["properties"]["publishingProfile"]["targetRegions"].as_array().unwrap();
    let names: Vec<_> = regions.iter().map(|region| region["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["West Europe", "Japan East", "East US"]);
}

/// A deleted version that the gallery keeps has its name until it is restored.
#[test]
fn a_version_that_the_gallery_keeps_is_refused_until_it_is_restored() {
    let scene = Scene::new(Links::AsyncOperation);
    assert_eq!(scene.dispatch("1.0.0").1.state, ReportedState::Succeeded);
    let mut deleted = None;
    scene.change(|world| {
        let at = world.galleries.iter().position(|item| item.level == GalleryLevel::Version).unwrap();
        let version = world.galleries.remove(at);
        world.soft_deleted.push((version.id.clone(), "westeurope".to_owned()));
        deleted = Some(version);
    });
    let control = scene.fleet.control_with_own_ports();
    let from = SourceLocation::Snapshot(format!("{GROUP}/snapshots/golden").parse().unwrap());
    let (image, version) = ("golden".parse().unwrap(), "1.0.0".parse().unwrap());
    let request = PlatformRequest { from, image, version, os: None, generation: None };
    let refused = scene.azure.run(request_from(&control, &request, &[], Terms::default())).unwrap_err();
    assert!(refused.to_string().contains("version-soft-deleted"), "{refused}");
    scene.change(|world| {
        world.soft_deleted.clear();
        world.galleries.extend(deleted);
    });
    assert_eq!(scene.dispatch("1.0.0").1.state, ReportedState::Succeeded);
}
