//! Copies of snapshots to another tenant, against the fake of Resource Manager: it accepts in each subscription only
//! tokens of its tenant, and copies nothing between tenants.
#![expect(clippy::unwrap_used, reason = "tests")]

use goldfleet_config::SyncDestination;
use goldfleet_disk::GoldenSpec;
use goldfleet_dispatcher::control::snapshots::request::{CopyRequest, RunOptions, copies, request, work_of_copy};
use goldfleet_dispatcher::control::status::Status;
use goldfleet_model::ids::SubscriptionId;
use goldfleet_model::manifest::Generation;
use goldfleet_snapshots::id::{GroupRef, SnapshotId};
use goldfleet_snapshots::rules::Speed;
use goldfleet_tests::azure::arm::{Authorization, DiskKind, Group, Limits, LongRunning};
use goldfleet_tests::azure::fixture::{AzureFixture, Backend};
use goldfleet_tests::fleet::InProcessFleet;
use goldfleet_tests::process_fixture;
use serde_json::json;

const OTHER: &str = "99999999-9999-9999-9999-999999999999";

const SIZE: usize = 20 << 20;

fn group(subscription: u32, name: &str) -> GroupRef {
    GroupRef { subscription: SubscriptionId::nth_for_tests(subscription), resource_group: name.parse().unwrap() }
}

/// A fleet with a snapshot in subscription 1, and subscription 2 in another tenant.
struct Scene {
    azure: AzureFixture,
    fleet: InProcessFleet,
}

impl Scene {
    fn new(tenants: &str) -> Self {
        let azure = AzureFixture::start(2, &["westeurope"]);
        let other = SubscriptionId::nth_for_tests(2).to_string();
        azure.manager.world().write(|world| {
            world.limits = Limits::none();
            world.roles.clear();
            world.authorization = Authorization::Open;
            world.long_running = LongRunning { at_once: true, ..LongRunning::default() };
            for subscription in world.subscriptions.iter_mut().filter(|found| found.id == other) {
                subscription.tenant = OTHER.to_owned();
            }
            let like = world.groups[0].clone();
            for (n, name) in [(1, "snaps"), (2, "replicas")] {
                let subscription = SubscriptionId::nth_for_tests(n).to_string();
                world.groups.push(Group { subscription, name: name.to_owned(), ..like.clone() });
            }
            let id = SnapshotId::new(group(1, "snaps"), "source").to_string();
            let properties = json!({
                "creationData": { "createOption": "Copy", "sourceResourceId": "/x/d", "sourceUniqueId": "d" },
                "diskSizeBytes": SIZE, "diskSizeGB": 1, "diskState": "Unattached", "osType": "Linux", "hyperVGeneration": "V2",
                "uniqueId": "00000000-0000-0000-0000-000000000007", "incremental": true, "networkAccessPolicy": "AllowAll",
                "timeCreated": "2026-01-01T00:00:00Z", "incrementalSnapshotFamilyId": "family",
            });
            world.add_disk(DiskKind::Snapshot, &id, "westeurope", properties);
            world.write_disk(&id, 1 << 20, &[7; 5000]);
            world.write_disk(&id, 9 << 20, &vec![9; 2 << 20]);
        });
        let config = azure.config(Backend::Local, Backend::Azure) + tenants;
        let golden = GoldenSpec::spread(24 << 20, Generation::V2, 1 << 20, 1, 3);
        let fleet = InProcessFleet::with(&config, &process_fixture::targets(1, &["westeurope"]), &golden);
        Self { azure, fleet }
    }

    /// Copies the snapshot to subscription 2.
    fn copy(&self) -> Status {
        let to = SyncDestination {
            subscription: SubscriptionId::nth_for_tests(2),
            region: "westeurope".parse().unwrap(),
            resource_group: "replicas".parse().unwrap(),
            disk_encryption_set: None,
            disk_access: None,
        };
        let ids = vec![SnapshotId::new(group(1, "snaps"), "source")];
        let asked = CopyRequest { ids, to: vec![to], scratch: None, speed: Speed::Standard };
        let options = RunOptions { name: Some("replica".parse().unwrap()), ..RunOptions::default() };
        self.azure.run(async {
            let control = self.fleet.control_with_own_ports();
            let work = work_of_copy(&copies(&asked).unwrap()[0], &options).unwrap();
            let job = request(&control.jobs, work, None).await.unwrap().job.id;
            self.fleet.run(&self.fleet.ports, 1, &job).await
        })
    }
}

#[test]
fn each_request_carries_a_token_of_its_tenant() {
    let scene = Scene::new(&format!("[tenants]\n\"{}\" = \"{OTHER}\"\n", SubscriptionId::nth_for_tests(2)));
    let status = scene.copy();
    assert_eq!(status.state.exit_code(), 0, "{status:#?}");
    scene.azure.manager.world().read(|world| {
        assert_eq!(world.wrong_tenants, 0, "no request had a token of another tenant");
        assert!(world.disk_bytes("replica") == world.disk_bytes("source"), "the bytes differ");
        assert_eq!((world.disk_data.access(), world.disk_data.violations.clone()), (0, Vec::new()));
    });
    let disks = scene.azure.manager.disks();
    let names: Vec<&str> = disks.iter().filter_map(|disk| disk["name"].as_str()).collect();
    assert_eq!(names, ["source", "replica"], "no temporary is left");
    assert_eq!(disks[0]["properties"]["diskState"], "Unattached");
    assert_eq!(disks[1]["tags"]["goldfleet-source"], "00000000-0000-0000-0000-000000000007");
    let log = scene.azure.manager.log();
    assert_eq!(log.violations, Vec::<String>::new());
    let upload = log.accepted.iter().find(|put| put.id.contains("gf-temporary")).unwrap();
    assert_eq!(upload.body["properties"]["creationData"]["uploadSizeBytes"], SIZE + 512, "{upload:?}");
}

/// Without the configuration, goldfleet does not know that the copy must be an export. The service refuses it.
#[test]
fn an_unknown_tenant_is_refused_by_the_service() {
    let scene = Scene::new("");
    let status = scene.copy();
    assert_eq!(status.state.exit_code(), 1, "{status:#?}");
    assert!(format!("{status:?}").contains("another tenant"), "{status:#?}");
    let disks = scene.azure.manager.disks();
    assert_eq!(disks.len(), 1, "{disks:#?}");
}
