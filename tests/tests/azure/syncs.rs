//! Syncs of snapshots with the real dispatcher and worker, against the double of Resource Manager, which checks every
//! request as Azure's specification demands.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};

use goldfleet_config::{HumanDuration, Sync, SyncDestination};
use goldfleet_disk::GoldenSpec;
use goldfleet_dispatcher::control::snapshots::request::{RunOptions, request, work_of_sync};
use goldfleet_dispatcher::control::status::{ReportedState, Status};
use goldfleet_model::ids::SubscriptionId;
use goldfleet_model::manifest::Generation;
use goldfleet_snapshots::id::{GroupRef, SnapshotId};
use goldfleet_snapshots::rules::{DeletePolicy, Speed};
use goldfleet_snapshots::tags;
use goldfleet_tests::azure::arm::{Authorization, DiskKind, Limits, Links, LongRunning};
use goldfleet_tests::azure::fixture::AzureFixture;
use goldfleet_tests::fleet::InProcessFleet;
use serde_json::{Value, json};

/// The groups of replicas: in the region of the source, in the same region of another subscription, and in another
/// region.
const DESTINATIONS: [(u32, &str, &str); 3] =
    [(1, "local", "westeurope"), (2, "near", "westeurope"), (2, "far", "eastus")];

fn group(subscription: u32, name: &str) -> GroupRef {
    GroupRef { subscription: SubscriptionId::nth_for_tests(subscription), resource_group: name.parse().unwrap() }
}

fn sync() -> Sync {
    let to = |(subscription, name, region): (u32, &str, &str)| {
        let GroupRef { subscription, resource_group } = group(subscription, name);
        let region = region.parse().unwrap();
        SyncDestination { subscription, region, resource_group, disk_encryption_set: None, disk_access: None }
    };
    Sync {
        name: "ctx".to_owned(),
        from: group(1, "snaps"),
        tags: BTreeMap::from([("SnapReplicate".to_owned(), "Replicate".to_owned())]),
        exclude_tags: BTreeMap::new(),
        names: Vec::new(),
        exclude_names: Vec::new(),
        families: Vec::new(),
        min_age: None,
        max_age: None,
        to: DESTINATIONS.map(to).to_vec(),
        delete: DeletePolicy::Mirror,
        keep: None,
        max_deletes: 10,
        grace: HumanDuration::seconds(0),
        every: None,
        lock: true,
        speed: Speed::Standard,
        scratch: Some(group(1, "scratch")),
    }
}

/// A fleet whose cloud is the double, with a source group.
struct Scene {
    azure: AzureFixture,
    fleet: InProcessFleet,
}

impl Scene {
    fn new(links: Links) -> Self {
        let azure = AzureFixture::start(2, &["westeurope"]);
        azure.manager.world().write(|world| {
            // Waits for a filled bucket would take most of the time.
            world.limits = Limits::none();
            world.roles.clear();
            world.authorization = Authorization::Open;
            world.long_running = LongRunning { links, ..LongRunning::default() };
            let groups = DESTINATIONS.map(|(subscription, name, _)| (subscription, name));
            let like = world.groups[0].clone();
            for (subscription, name) in groups.into_iter().chain([(1, "snaps"), (1, "scratch")]) {
                let subscription = SubscriptionId::nth_for_tests(subscription).to_string();
                world.groups.push(goldfleet_tests::azure::arm::Group {
                    subscription,
                    name: name.to_owned(),
                    ..like.clone()
                });
            }
        });
        let fleet = azure.fleet(&GoldenSpec::spread(64 << 20, Generation::V2, 1 << 20, 1, 3));
        Self { azure, fleet }
    }

    /// Adds a snapshot, as somebody else creates it. A number is its unique id and its time.
    fn add(&self, at: &GroupRef, name: &str, number: u32, disk: &str, incremental: bool, region: &str) {
        let properties = json!({
            "creationData": { "createOption": "Copy", "sourceResourceId": format!("/x/{disk}"), "sourceUniqueId": disk },
            "diskSizeBytes": 20 << 20, "diskSizeGB": 1, "diskState": "Unattached", "osType": "Linux", "hyperVGeneration": "V2",
            "uniqueId": format!("00000000-0000-0000-0000-{number:012}"), "incremental": incremental,
            "timeCreated": format!("2026-01-01T00:00:{number:02}Z"), "networkAccessPolicy": "AllowAll",
            "incrementalSnapshotFamilyId": incremental.then(|| format!("family-{disk}")),
            "securityProfile": { "securityType": "TrustedLaunch" },
        });
        self.azure.manager.world().write(|world| {
            let id = SnapshotId::new(at.clone(), name).to_string();
            world.add_disk(DiskKind::Snapshot, &id, region, properties);
            let added = world.disks.last_mut().unwrap();
            added.tags = BTreeMap::from([("SnapReplicate", "Replicate"), ("owner", "payments")])
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect();
        });
    }

    fn source(&self, name: &str, number: u32, disk: &str, incremental: bool) {
        self.add(&sync().from, name, number, disk, incremental, "westeurope");
    }

    fn delete_source(&self, name: &str) {
        let id = SnapshotId::new(sync().from, name).to_string();
        self.azure.manager.world().write(|world| world.disks.retain(|disk| !disk.id().eq_ignore_ascii_case(&id)));
    }

    fn run(&self) -> Status {
        self.azure.run(async {
            let control = self.fleet.control_with_own_ports();
            let work = work_of_sync(&sync(), &RunOptions::default()).unwrap();
            let job = request(&control.jobs, work, None).await.unwrap().job.id;
            self.fleet.run(&self.fleet.ports, 2, &job).await
        })
    }

    /// The replicas in a group: the unique ids of their sources by name.
    fn replicas(&self, (subscription, group, _): (u32, &str, &str)) -> BTreeMap<String, String> {
        let prefix = format!("/subscriptions/{}/resourceGroups/{group}/", SubscriptionId::nth_for_tests(subscription));
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let found = self.azure.manager.disks().into_iter().filter(|disk| text(&disk["id"]).starts_with(&prefix));
        found.map(|disk| (text(&disk["name"]), text(&disk["tags"][tags::SOURCE]))).collect()
    }

    /// Asserts that each destination has these replicas, each with the lock of the sync, that no temporary is left, and
    /// that no request violated the specification.
    fn assert_state(&self, expected: &[(&str, u32)]) {
        let unique = |number: &u32| format!("00000000-0000-0000-0000-{number:012}");
        let expected: BTreeMap<String, String> =
            expected.iter().map(|(name, number)| ((*name).to_owned(), unique(number))).collect();
        for destination in DESTINATIONS {
            assert_eq!(self.replicas(destination), expected, "{destination:?}");
        }
        assert_eq!(self.replicas((1, "scratch", "")), BTreeMap::new());
        let locked: BTreeSet<String> =
            self.azure.manager.world().read(|world| world.locks.iter().map(|lock| lock.scope.to_lowercase()).collect());
        let replicas = expected.keys().flat_map(|name| {
            DESTINATIONS.map(|(n, at, _)| SnapshotId::new(group(n, at), name).to_string().to_lowercase())
        });
        assert_eq!(locked, replicas.collect::<BTreeSet<_>>());
        assert_eq!(self.azure.manager.log().violations, Vec::<String>::new());
    }
}

/// Copies in a region, to another subscription and to another region, of incremental snapshots and of a full one; then
/// a source that is replaced, and one that is deleted. Replicas are locked.
#[test]
fn sync_follows_the_specification() {
    for links in [Links::Both, Links::None] {
        let scene = Scene::new(links);
        scene.source("a1", 1, "one", true);
        scene.source("a2", 2, "one", true);
        scene.source("full", 3, "two", false);
        let first = scene.run();
        assert_eq!((first.state, first.findings.len()), (ReportedState::Succeeded, 0), "{first:#?}");
        scene.assert_state(&[("a1", 1), ("a2", 2), ("full", 3)]);
        for disk in scene.azure.manager.disks().iter().filter(|disk| !disk["tags"][tags::SOURCE].is_null()) {
            assert_eq!(disk["properties"]["securityProfile"]["securityType"], "TrustedLaunch", "{disk:#}");
            assert_eq!((&disk["tags"]["owner"], &disk["tags"]["SnapReplicate"]), (&json!("payments"), &Value::Null));
            assert_eq!(disk["properties"]["completionPercent"], 100.0);
        }

        scene.delete_source("a1");
        scene.source("a1", 9, "one", true);
        scene.delete_source("a2");
        let second = scene.run();
        assert_eq!(second.state, ReportedState::Succeeded, "{second:#?}");
        assert_eq!(scene.replicas(DESTINATIONS[2]).len(), 4, "the new one is staged, and nothing is deleted");
        let third = scene.run();
        assert_eq!(third.state, ReportedState::Succeeded, "{third:#?}");
        scene.assert_state(&[("a1", 9), ("full", 3)]);
        let reasons: BTreeSet<&str> =
            third.remarks.iter().filter_map(|remark| remark.text.split_once(": ").map(|(_, why)| why)).collect();
        assert!(reasons.contains("its source a2 does not exist any more"), "{reasons:#?}");
        let idle = scene.run();
        assert_eq!((idle.state, idle.findings.len()), (ReportedState::Succeeded, 0), "{idle:#?}");
    }
}

/// A missing group and an item with an unknown value, in the shapes of Azure.
#[test]
fn lists_that_cannot_be_trusted_delete_nothing() {
    let scene = Scene::new(Links::Both);
    scene.source("a1", 1, "one", true);
    scene.source("b1", 2, "two", true);
    assert_eq!(scene.run().state, ReportedState::Succeeded);
    scene.azure.manager.world().write(|world| {
        let disk = world.disks.iter_mut().find(|disk| disk.name == "b1" && disk.group == "snaps").unwrap();
        disk.properties["osType"] = json!("Plan9");
    });
    for _ in 0..2 {
        let status = scene.run();
        assert_eq!(status.findings.iter().map(|f| f.code.as_str()).collect::<Vec<_>>(), ["source-unreadable"]);
        scene.assert_state(&[("a1", 1), ("b1", 2)]);
    }
    let gone = scene.azure.manager.world().write(|world| {
        let at = world.groups.iter().position(|group| group.name == "snaps").unwrap();
        world.groups.remove(at)
    });
    for _ in 0..2 {
        let status = scene.run();
        assert_eq!((status.state, status.exit_code()), (ReportedState::Failed, 3), "{status:#?}");
        scene.assert_state(&[("a1", 1), ("b1", 2)]);
    }
    scene.azure.manager.world().write(|world| world.groups.push(gone));
}
