//! A disk and snapshots of it on the directory cloud, and dispatches of them to four targets in two regions.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use goldfleet_dispatcher::control::context::ControlError;
use goldfleet_dispatcher::control::platform::request::{PlatformRequest, request_from};
use goldfleet_dispatcher::control::request::Terms;
use goldfleet_dispatcher::control::status::{ReportedState, Status};
use goldfleet_model::ids::{JobId, SubscriptionId};
use goldfleet_model::manifest::{Generation, OsType};
use goldfleet_model::operation::Operation;
use goldfleet_model::resource::{
    CreationData, DiskProperties, Properties, ResourceBody, ResourceId, ResourceType, SnapshotProperties,
};
use goldfleet_model::target::Target;
use goldfleet_ports::Ports;
use goldfleet_ports::disk_access::{Access, AccessRequest, MAX_ACCESS};
use goldfleet_ports::resources::{PutMode, PutRequest, Resource, ResourceQuery, list_all};
use goldfleet_snapshots::tags::Role;
use goldfleet_sources::SourceLocation;
use goldfleet_tests::fleet::InProcessFleet;
use goldfleet_tests::process_fixture;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use serde_json::{Value, json};

/// The smallest disk that the service permits.
pub(super) const SIZE: u64 = 20 << 20;

/// The subscription and region of the source. There are targets in both.
pub(super) const HOME: (u32, &str) = (1, "westeurope");

/// The regions of targets.
const REGIONS: [&str; 2] = ["westeurope", "eastus"];

/// A fleet with two targets in each of two regions, and a disk `golden` in one of them.
pub(crate) struct Scene {
    pub(crate) fleet: InProcessFleet,
    pub(crate) disk: ResourceId,
}

/// The id of a resource of a target's resource group, or of another one.
pub(crate) fn id(subscription: u32, group: &str, resource_type: ResourceType, name: &str) -> ResourceId {
    ResourceId {
        subscription: SubscriptionId::nth_for_tests(subscription),
        resource_group: group.parse().unwrap(),
        resource_type,
        name: name.parse().unwrap(),
    }
}

impl Scene {
    /// A scene whose targets receive images.
    pub(crate) async fn new() -> Self {
        Self::with("").await
    }

    /// A scene whose targets have these further lines.
    pub(crate) async fn with(lines: &str) -> Self {
        Self::with_targets(
            &process_fixture::targets(2, &REGIONS)
                .replace("container = \"vhds\"\n", &format!("container = \"vhds\"\n{lines}\n")),
        )
        .await
    }

    /// A scene with these targets.
    pub(crate) async fn with_targets(targets: &str) -> Self {
        let toml = process_fixture::SOURCE.to_owned() + "[dispatch]\nsweep = \"50ms\"\n";
        let fleet = InProcessFleet::with(&toml, targets, &process_fixture::golden());
        let scene = Self { fleet, disk: id(HOME.0, "build", ResourceType::Disk, "golden") };
        scene.create_disk().await;
        scene
    }

    async fn create_disk(&self) {
        let mut disk = DiskProperties::new(CreationData::upload(SIZE));
        (disk.os_type, disk.hyper_v_generation) = (Some(OsType::Linux), Some(Generation::V2));
        disk.other.insert("networkAccessPolicy".to_owned(), json!("DenyAll"));
        self.put(&self.disk, ResourceBody::new(HOME.1.parse().unwrap(), Properties::Disk(disk))).await;
        let access = AccessRequest { id: self.disk.clone(), tenant: None, access: Access::Write, duration: MAX_ACCESS };
        self.ports().disk_access.begin(&access).await.unwrap();
        self.write_disk(1);
        self.ports().disk_access.end(&self.disk, None).await.unwrap();
    }

    /// Writes random data to the disk, as a machine does.
    pub(crate) fn write_disk(&self, seed: u64) {
        self.write_to(&self.disk, seed);
    }

    pub(super) fn write_to(&self, disk: &ResourceId, seed: u64) {
        let mut rng = StdRng::seed_from_u64(seed);
        let file = OpenOptions::new().write(true).open(self.content(disk)).unwrap();
        for _ in 0..4 {
            let block: u64 = rng.random_range(0..20 << 8);
            file.write_all_at(&rng.random::<[u8; 32]>().repeat(128), block << 12).unwrap();
        }
    }

    /// Creates a snapshot of the disk.
    pub(crate) async fn snapshot(&self, name: &str, incremental: bool) -> ResourceId {
        self.snapshot_of(&self.disk, name, incremental).await
    }

    pub(super) async fn snapshot_of(&self, disk: &ResourceId, name: &str, incremental: bool) -> ResourceId {
        let id = id(HOME.0, "build", ResourceType::Snapshot, name);
        let mut snapshot = SnapshotProperties::new(CreationData::copy(disk), incremental);
        snapshot.disk.other.insert("networkAccessPolicy".to_owned(), json!("DenyAll"));
        let properties = Properties::Snapshot(snapshot);
        self.put(&id, ResourceBody::new(HOME.1.parse().unwrap(), properties)).await;
        id
    }

    pub(crate) fn ports(&self) -> &Ports {
        &self.fleet.ports
    }

    pub(crate) async fn put(&self, id: &ResourceId, body: ResourceBody) {
        let request = PutRequest { id: id.clone(), tenant: None, mode: PutMode::Create, body };
        self.ports().resources.put(&request).await.unwrap();
    }

    pub(crate) async fn get(&self, id: &ResourceId) -> Option<Resource> {
        self.ports().resources.get(id, None).await.unwrap()
    }

    /// Requests version 1 of a disk or snapshot as the command does.
    pub(crate) async fn try_request(&self, source: &ResourceId) -> Result<JobId, ControlError> {
        self.try_request_version(source, "1", Terms::default()).await
    }

    pub(crate) async fn try_request_version(
        &self,
        source: &ResourceId,
        version: &str,
        terms: Terms,
    ) -> Result<JobId, ControlError> {
        let from = match source.resource_type {
            ResourceType::Disk => SourceLocation::Disk(source.clone()),
            _ => SourceLocation::Snapshot(source.clone()),
        };
        let (image, version) = ("golden".parse().unwrap(), version.parse().unwrap());
        let request = PlatformRequest { from, image, version, os: None, generation: None };
        Ok(request_from(&self.fleet.control_with_own_ports(), &request, &[], terms).await?.job.id)
    }

    pub(crate) async fn request(&self, source: &ResourceId) -> JobId {
        self.try_request(source).await.unwrap()
    }

    /// The code with which a request is refused.
    pub(crate) async fn refusal(&self, source: &ResourceId) -> String {
        match self.try_request(source).await.unwrap_err() {
            ControlError::Source(refusal) => refusal.code.name.to_owned(),
            ControlError::NotCopied(refusals) => {
                refusals.iter().map(|refusal| refusal.code.as_str()).collect::<Vec<_>>().join(" ")
            }
            other => panic!("{other}"),
        }
    }

    /// Requests a version and performs it.
    pub(crate) async fn dispatch(&self, source: &ResourceId) -> (JobId, Status) {
        let job = self.request(source).await;
        let status = self.fleet.run(self.ports(), 2, &job).await;
        (job, status)
    }

    /// The rows of a job.
    pub(crate) async fn rows(&self, job: &JobId) -> Vec<Operation> {
        self.ports().table.operations(job).await.unwrap().into_iter().map(|row| row.value).collect()
    }

    /// The targets.
    pub(crate) fn targets(&self) -> Vec<Target> {
        goldfleet_config::targets::TargetsFile::load(&self.fleet.config.targets.file).unwrap().targets
    }

    /// The id of what a target receives of version 1.
    pub(crate) fn received(&self, target: &Target, resource_type: ResourceType) -> ResourceId {
        let name = format!("golden-1-{}", target.region);
        ResourceId {
            subscription: target.subscription,
            resource_group: target.resource_group.clone(),
            resource_type,
            name: name.parse().unwrap(),
        }
    }

    /// Asserts that each target has these, with the bytes of the source, and nothing else.
    pub(crate) async fn assert_received(&self, source: &ResourceId, types: &[ResourceType]) {
        let expected = self.bytes(source);
        for target in self.targets() {
            for resource_type in [ResourceType::Image, ResourceType::Snapshot, ResourceType::Disk] {
                let id = self.received(&target, resource_type);
                let found = self.get(&id).await;
                assert_eq!(found.is_some(), types.contains(&resource_type), "{id}");
                if let Some(found) = found {
                    assert_eq!(found.body.region, target.region);
                    assert_eq!(self.bytes(&id), expected, "{id}");
                }
            }
        }
        self.assert_no_temporaries().await;
    }

    /// Asserts that no temporary exists.
    pub(crate) async fn assert_no_temporaries(&self) {
        let left = self.temporaries().await;
        assert!(left.is_empty(), "{left:#?}");
    }

    pub(crate) async fn temporaries(&self) -> Vec<ResourceId> {
        let mut left = Vec::new();
        for subscription in 1..=2 {
            for resource_type in [ResourceType::Disk, ResourceType::Snapshot, ResourceType::Gallery] {
                let query = ResourceQuery {
                    resource_type,
                    subscription: SubscriptionId::nth_for_tests(subscription),
                    resource_group: None,
                    parent: None,
                    tags: BTreeMap::new(),
                    tenant: None,
                };
                let ports = self.ports();
                let found = list_all(ports.resources.as_ref(), ports.clock.as_ref(), &query).await.unwrap();
                let is_temporary = |found: &Resource| Role::in_tags(&found.body.tags) == Some(Role::Temporary);
                left.extend(found.resources.into_iter().filter(is_temporary).map(|found| found.id));
            }
        }
        left
    }

    /// The file with the content of a resource.
    pub(crate) fn content(&self, id: &ResourceId) -> PathBuf {
        let ResourceId { subscription, resource_group, resource_type, name } = id;
        let group = format!("subscriptions/{subscription}/resourceGroups/{resource_group}");
        self.fleet.cloud().join(group).join(resource_type.segment()).join(format!("{name}.disk"))
    }

    /// A hash of the bytes of a resource, without the footer of an uploaded disk.
    pub(crate) fn bytes(&self, id: &ResourceId) -> blake3::Hash {
        self.bytes_of(&self.content(id))
    }

    /// As [`Scene::bytes`], of the file with the content.
    pub(super) fn bytes_of(&self, path: &Path) -> blake3::Hash {
        let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        blake3::hash(&bytes[..usize::try_from(SIZE).unwrap()])
    }

    /// The file of a resource.
    pub(super) fn read_json(&self, id: &ResourceId) -> Value {
        serde_json::from_slice(&std::fs::read(self.content(id).with_extension("json")).unwrap()).unwrap()
    }

    /// Changes the file of a resource, as the service does.
    pub(crate) fn edit(&self, id: &ResourceId, change: impl FnOnce(&mut Value)) {
        let path = self.content(id).with_extension("json");
        let mut value: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        change(&mut value);
        std::fs::write(path, value.to_string()).unwrap();
    }
}

/// Asserts that a job and all its operations succeeded.
pub(crate) fn assert_succeeded(status: &Status) {
    assert_eq!(status.state, ReportedState::Succeeded, "{status:#?}");
}
