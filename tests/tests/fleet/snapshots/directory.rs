//! A sync on the directory cloud, where the bytes of replicas can be compared.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use goldfleet_dispatcher::control::status::Status;
use goldfleet_model::ids::JobId;
use goldfleet_model::resource::{ResourceId, ResourceType};
use goldfleet_ports::Ports;
use goldfleet_tests::fleet::InProcessFleet;
use goldfleet_tests::process_fixture;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use serde_json::Value;
use tempfile::TempDir;

use goldfleet_snapshots::id::GroupRef;

use super::scene::{Planned, Sync, TRIGGER, id};

/// A fleet with a sync.
pub(crate) struct Scene {
    pub(crate) fleet: InProcessFleet,
    pub(crate) sync: Sync,
    rng: StdRng,
}

impl Scene {
    /// A scene with a sync to three destinations.
    pub(crate) fn new() -> Self {
        Self::with(Sync::new)
    }

    /// A scene with a sync to the destination of this index.
    pub(crate) fn to(destination: usize) -> Self {
        Self::with(|ports| Sync::to(ports, destination))
    }

    /// A scene with a sync to one destination, whose subscription is in another tenant. The cloud copies nothing there.
    pub(crate) fn to_other_tenant() -> Self {
        let tenants = "[tenants]\n\"00000000-0000-0000-0000-000000000002\" = \"contoso.com\"\n";
        let config = process_fixture::SOURCE.to_owned() + "[dispatch]\nsweep = \"50ms\"\n" + tenants;
        let targets = process_fixture::targets(1, &["westeurope"]);
        let fleet = InProcessFleet::with(&config, &targets, &process_fixture::golden());
        Self::of(fleet, |ports| {
            let mut sync = Sync::to(ports, 1);
            sync.rules.destinations[0].other_tenant = true;
            sync
        })
    }

    fn with(sync: impl Fn(&Ports) -> Sync) -> Self {
        Self::of(InProcessFleet::new(), sync)
    }

    fn of(fleet: InProcessFleet, sync: impl Fn(&Ports) -> Sync) -> Self {
        let sync = sync(&fleet.ports);
        let scene = Self { fleet, sync, rng: StdRng::seed_from_u64(7) };
        let rules = &scene.sync.rules;
        let groups = rules.destinations.iter().map(|to| &to.group).chain(&rules.scratch).chain([&rules.source]);
        for group in groups {
            std::fs::create_dir_all(scene.folder(group)).unwrap();
        }
        scene
    }

    /// The folder of a resource group.
    pub(crate) fn folder(&self, group: &GroupRef) -> PathBuf {
        let GroupRef { subscription, resource_group } = group;
        self.fleet.cloud().join(format!("subscriptions/{subscription}/resourceGroups/{resource_group}"))
    }

    /// Creates a disk with snapshots, between which some bytes of the disk change.
    pub(crate) async fn family(&mut self, disk: &str, snapshots: &[&str]) {
        let disk = self.sync.disk(disk).await;
        for name in snapshots {
            self.write(&disk);
            self.sync.snapshot(&disk, name, true).await;
        }
    }

    /// Creates a disk with a full snapshot.
    pub(crate) async fn full(&mut self, name: &str) {
        let disk = self.sync.disk(&format!("disk-of-{name}")).await;
        self.write(&disk);
        self.sync.snapshot(&disk, name, false).await;
    }

    /// Deletes a source, and creates another one with the same name from the changed disk.
    pub(crate) async fn recreate(&mut self, name: &str, disk: &str) {
        let disk = id(&self.sync.rules.source, ResourceType::Disk, disk);
        self.write(&disk);
        self.sync.delete(&self.sync.source(name)).await;
        self.sync.snapshot(&disk, name, true).await;
    }

    /// Writes random bytes to random places of a disk.
    pub(crate) fn write(&mut self, disk: &ResourceId) {
        let file = OpenOptions::new().write(true).open(self.content(disk)).unwrap();
        for _ in 0..3 {
            let block: u64 = self.rng.random_range(0..20 << 8);
            file.write_all_at(&self.rng.random::<[u8; 32]>().repeat(128), block << 12).unwrap();
        }
    }

    /// The file with the content of a disk or snapshot.
    pub(crate) fn content(&self, id: &ResourceId) -> PathBuf {
        let ResourceId { subscription, resource_group, resource_type, name } = id;
        let group = format!("subscriptions/{subscription}/resourceGroups/{resource_group}");
        self.fleet.cloud().join(group).join(resource_type.segment()).join(format!("{name}.disk"))
    }

    /// The file with the properties of a resource.
    pub(crate) fn properties(&self, id: &ResourceId) -> PathBuf {
        self.content(id).with_extension("json")
    }

    /// Moves a resource away, as if it did not exist. Returns where its files are.
    pub(crate) fn hide(&self, id: &ResourceId) -> TempDir {
        let aside = TempDir::new_in(self.fleet.cloud()).unwrap();
        std::fs::rename(self.content(id), aside.path().join("content")).unwrap();
        std::fs::rename(self.properties(id), aside.path().join("properties")).unwrap();
        aside
    }

    /// Moves a resource back that was hidden.
    pub(crate) fn restore(&self, id: &ResourceId, aside: &TempDir) {
        std::fs::rename(aside.path().join("content"), self.content(id)).unwrap();
        std::fs::rename(aside.path().join("properties"), self.properties(id)).unwrap();
    }

    /// Changes properties of a resource, as the service does.
    pub(crate) fn edit(path: &PathBuf, change: impl FnOnce(&mut Value)) {
        let mut value: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        change(&mut value);
        std::fs::write(path, value.to_string()).unwrap();
    }

    pub(crate) fn bytes(&self, id: &ResourceId) -> blake3::Hash {
        blake3::hash(&std::fs::read(self.content(id)).unwrap())
    }

    /// Plans a run.
    pub(crate) async fn plan(&mut self) -> Planned {
        let control = self.fleet.control_with_own_ports();
        self.sync.plan(&control).await
    }

    /// Plans a run and performs it.
    pub(crate) async fn run(&mut self) -> (JobId, Status) {
        let planned = self.plan().await;
        let status = self.fleet.run(&self.fleet.ports, 1, &planned.job).await;
        (planned.job, status)
    }

    /// Asserts that each destination has exactly one replica of each source, with the bytes of the source and without
    /// the tag that selects sources, and that no temporary is left.
    pub(crate) async fn assert_equal(&self) {
        let sources = self.sync.resources(&self.sync.rules.source, ResourceType::Snapshot).await;
        let expected: BTreeMap<String, blake3::Hash> =
            sources.iter().map(|source| (source.id.name.to_string(), self.bytes(&source.id))).collect();
        for destination in 0..self.sync.rules.destinations.len() {
            let replicas = self.sync.replicas(destination).await;
            let found: BTreeMap<String, blake3::Hash> =
                replicas.iter().map(|(name, replica)| (name.clone(), self.bytes(&replica.id))).collect();
            assert_eq!(found, expected, "destination {destination}");
            assert_eq!(replicas.len(), expected.len(), "one replica of each source");
            for (_, replica) in &replicas {
                assert!(!replica.body.tags.contains_key(TRIGGER.0), "{replica:#?}");
                assert_eq!(replica.body.tags["owner"], "payments");
            }
        }
        self.sync.assert_no_temporaries().await;
    }

    /// Asserts that the next run has nothing to do.
    pub(crate) async fn assert_in_sync(&mut self) {
        self.assert_equal().await;
        let next = self.plan().await;
        assert_eq!((next.rows, next.notes.len()), (0, 0), "{:?}", next.notes);
    }

    /// A snapshot that someone else created at the first destination.
    pub(crate) async fn foreign(&mut self, name: &str) -> ResourceId {
        let disk = self.sync.disk("foreign").await;
        self.write(&disk);
        self.sync.snapshot(&disk, "foreign", true).await;
        let (source, taken) = (self.sync.source("foreign"), self.sync.replica(0, name));
        std::fs::create_dir_all(self.content(&taken).parent().unwrap()).unwrap();
        for file in [Self::content, Self::properties] {
            std::fs::rename(file(self, &source), file(self, &taken)).unwrap();
        }
        let region = self.sync.rules.destinations[0].region.to_string();
        Self::edit(&self.properties(&taken), |value| value["location"] = region.into());
        self.sync.delete(&disk).await;
        taken
    }
}
