//! Dispatches of disks and snapshots with the double of Resource Manager, which checks each request as Azure's
//! specification demands.
#![expect(clippy::unwrap_used, reason = "tests")]

use goldfleet_tests::azure::arm::{Authorization, DiskKind, Limits, Links, LongRunning, TenantState};
use goldfleet_tests::azure::fixture::{AzureFixture, Backend};
use goldfleet_tests::process_fixture::ProcessFixture;
use serde_json::{Value, json};

const MIB: u64 = 1 << 20;
const GROUP: &str =
    "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/images/providers/Microsoft.Compute";

/// Azure with two targets in each of two regions, an incremental and a full snapshot, and an attached disk.
struct Scene {
    azure: AzureFixture,
    fixture: ProcessFixture,
}

impl Scene {
    fn new(links: Links) -> Self {
        let azure = AzureFixture::start(2, &["westeurope", "eastus"]);
        let fixture = azure.process_fixture(Backend::Local, Backend::Azure, 4 * MIB);
        let scene = Self { azure, fixture };
        scene.change(|world| {
            // Waits for a filled bucket would take most of the time.
            world.limits = Limits::none();
            world.roles.clear();
            world.authorization = Authorization::Open;
            world.long_running = LongRunning { links, ..LongRunning::default() };
        });
        for (kind, name, incremental) in
            [("snapshots", "incremental", true), ("snapshots", "full", false), ("disks", "attached", false)]
        {
            scene.put(kind, name, incremental);
        }
        scene
    }

    fn change(&self, change: impl FnOnce(&mut TenantState)) {
        self.azure.manager.world().write(change);
    }

    /// Creates a disk or snapshot, as somebody else did before.
    fn put(&self, kind: &str, name: &str, incremental: bool) {
        let mut properties = json!({
            "creationData": { "createOption": "Empty" }, "diskSizeBytes": 20 * MIB, "diskSizeGB": 1,
            "diskState": "Unattached", "uniqueId": format!("unique-{name}"), "osType": "Linux", "hyperVGeneration": "V2",
            "networkAccessPolicy": "DenyAll", "publicNetworkAccess": "Disabled", "timeCreated": "2026-11-01T00:00:00Z",
        });
        let which = if kind == "disks" { DiskKind::Disk } else { DiskKind::Snapshot };
        if which == DiskKind::Disk {
            properties["diskState"] = json!("Attached");
        } else {
            properties["incremental"] = json!(incremental);
        }
        self.change(|world| world.add_disk(which, &format!("{GROUP}/{kind}/{name}"), "westeurope", properties));
    }

    /// Dispatches a source as a version, and waits. Returns the status.
    fn dispatch(&self, from: &str, version: &str) -> Value {
        let arguments = ["dispatch", "--from", from, "--image", "golden", "--version", version, "--wait"];
        self.fixture.json(&arguments)
    }

    fn names(&self) -> Vec<String> {
        self.azure.manager.disks().iter().map(|disk| disk["name"].as_str().unwrap().to_owned()).collect()
    }
}

#[test]
fn requests_of_a_dispatch_follow_the_specification() {
    let (incremental, full, disk) =
        (("snapshot", "snapshots/incremental"), ("snapshot", "snapshots/full"), ("disk", "disks/attached"));
    for (links, sources) in [(Links::Both, vec![incremental, disk]), (Links::None, vec![full])] {
        let scene = Scene::new(links);
        for (n, (kind, name)) in (1..).zip(sources) {
            let status = scene.dispatch(&format!("{kind}:{GROUP}/{name}"), &n.to_string());
            assert_eq!(status["state"], "succeeded", "{name}: {status:#}");
            assert_eq!(scene.azure.manager.images().len(), n * 4, "{name}");
            assert_eq!(scene.names().len(), 3, "{:?}", scene.names());
        }
        let image = &scene.azure.manager.images()[0];
        assert_eq!(image["properties"]["storageProfile"]["osDisk"]["osState"], "Generalized", "{image:#}");
    }
}

#[test]
fn snapshots_and_disks_are_received_beside_images() {
    let scene = Scene::new(Links::Both);
    let path = scene.fixture.path("targets.toml");
    let targets = std::fs::read_to_string(&path).unwrap();
    let sinks = "container = \"vhds\"\nsinks = [\"image\", \"snapshot\", \"disk\"]\n";
    std::fs::write(&path, targets.replace("container = \"vhds\"\n", sinks)).unwrap();
    let status = scene.dispatch(&format!("snapshot:{GROUP}/snapshots/incremental"), "1.0");
    assert_eq!(status["state"], "succeeded", "{status:#}");
    assert_eq!(scene.azure.manager.images().len(), 4);
    let received = scene.names().into_iter().filter(|name| name.starts_with("golden-1-0-")).count();
    assert_eq!((received, scene.names().len()), (8, 3 + 8), "{:?}", scene.names());
}

/// An image and a gallery version of it are sources. What they were created from does not exist any more.
#[test]
fn requests_of_dispatches_of_images_and_versions_follow_the_specification() {
    let scene = Scene::new(Links::Both);
    // Other tests wait for long operations, copies and replications.
    scene.change(|world| {
        world.long_running = LongRunning { at_once: true, ..LongRunning::default() };
        (world.copy_reads, world.replication.reads, world.replication.refused_uses) = (0, 0, 0);
    });
    assert_eq!(scene.dispatch(&format!("snapshot:{GROUP}/snapshots/incremental"), "1")["state"], "succeeded");
    let before = scene.names();
    let image = format!("{GROUP}/images/golden-1-westeurope");
    let status = scene.dispatch(&format!("image:{image}"), "2");
    assert_eq!(status["state"], "succeeded", "{status:#}");
    assert_eq!((scene.names(), scene.azure.manager.images().len()), (before, 2 * 4));
    let accepted = scene.azure.manager.log().accepted;
    let version = accepted.into_iter().find(|put| put.id.ends_with("/versions/1.0.0")).unwrap();
    assert_eq!(version.body["properties"]["storageProfile"], json!({ "source": { "id": image } }));
    assert!(scene.azure.manager.world().read(|world| world.galleries.is_empty()), "temporary galleries are deleted");
}

/// A plan shows what a dispatch would do, changes nothing, and refuses what a dispatch refuses.
#[test]
fn a_plan_shows_what_a_dispatch_would_copy() {
    let scene = Scene::new(Links::Both);
    let (before, accepted) = (scene.names(), scene.azure.manager.log().accepted.len());
    let from = format!("snapshot:{GROUP}/snapshots/incremental");
    let plan =
        |version: &str| scene.fixture.json(&["plan", "--from", &from, "--image", "golden", "--version", version]);
    let planned = plan("1");
    assert_eq!((&planned["region"], &planned["bytes"]), (&json!("westeurope"), &json!(20 * MIB)));
    let copies = planned["copies"].as_array().unwrap();
    assert_eq!(copies.len(), 1, "{planned:#}");
    assert_eq!((&copies[0]["to"], &copies[0]["targets"]), (&json!("eastus"), &json!(2)));
    assert_eq!(copies[0]["bytes_at_most"], json!(20 * MIB));
    let is_done =
        |planned: &Value| planned["targets"].as_array().unwrap().iter().filter(|each| each["done"] == true).count();
    assert_eq!((planned["targets"].as_array().unwrap().len(), is_done(&planned)), (4, 0));
    assert_eq!((scene.names(), scene.azure.manager.log().accepted.len()), (before, accepted), "a plan changes nothing");
    let status = scene.fixture.run(&["status"]);
    assert!(String::from_utf8(status.stderr).unwrap().contains("there are no jobs yet"), "a plan creates no job");

    let text = scene.fixture.run(&["plan", "--from", &from, "--image", "golden", "--version", "1"]);
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(
        text.contains("4 targets, of which 0 have this version already") && text.contains("egress at most"),
        "{text}"
    );

    assert_eq!(scene.dispatch(&from, "1")["state"], "succeeded");
    let planned = plan("1");
    assert_eq!((is_done(&planned), planned["copies"].as_array().unwrap().len()), (4, 0), "{planned:#}");

    let missing = format!("snapshot:{GROUP}/snapshots/missing");
    let refused = scene.fixture.run(&["plan", "--from", &missing, "--image", "golden", "--version", "2"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8(refused.stderr).unwrap().contains("source-not-found"));
    let svg = scene.fixture.run(&["plan", "--from", &from, "--image", "golden", "--version", "2", "--output", "svg"]);
    assert_eq!(svg.status.code(), Some(2));
}
