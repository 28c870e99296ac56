//! A fleet on the directory cloud with two targets in each of two regions, and hubs in three.

use std::collections::BTreeMap;
use std::path::PathBuf;

use goldfleet_dispatcher::control::context::ControlError;
use goldfleet_dispatcher::control::request::request_job;
use goldfleet_dispatcher::control::status::{ReportedState, Status};
use goldfleet_model::ids::{JobId, SubscriptionId};
use goldfleet_model::operation::Operation;
use goldfleet_model::resource::{ResourceId, ResourceType};
use goldfleet_model::target::Target;
use goldfleet_ports::Ports;
use goldfleet_ports::resources::{Resource, ResourceQuery, list_all};
use goldfleet_snapshots::tags::Role;
use goldfleet_tests::fleet::InProcessFleet;
use goldfleet_tests::process_fixture;

/// The size of the golden VHD without its footer.
const SIZE: usize = 24 << 20;

/// The subscription of the hubs.
const HUBS: u32 = 9;

pub(crate) struct Scene {
    pub(crate) fleet: InProcessFleet,
}

/// The stores of three regions, with hubs.
pub(crate) fn stores() -> String {
    let store = |region: &str| {
        format!(
            "[[store]]\nregion = \"{region}\"\naccount = \"gold{region}\"\ncontainer = \"golden\"\n\
             subscription = \"{}\"\nresource_group = \"hub\"\n",
            SubscriptionId::nth_for_tests(HUBS)
        )
    };
    ["westeurope", "eastus", "japaneast"].map(store).concat()
}

impl Scene {
    pub(crate) fn new() -> Self {
        Self::with_targets(&(process_fixture::targets(2, &["westeurope", "eastus"]) + &stores()))
    }

    pub(crate) fn with_targets(targets: &str) -> Self {
        let toml = process_fixture::SOURCE.to_owned() + "[dispatch]\nsweep = \"50ms\"\n[plan]\nroute = \"region\"\n";
        Self { fleet: InProcessFleet::with(&toml, targets, &process_fixture::golden()) }
    }

    /// A scene with version 1 uploaded and requested.
    pub(crate) async fn requested() -> (Self, JobId) {
        let scene = Self::new();
        scene.fleet.upload(scene.ports(), "1").await.unwrap();
        let job = scene.fleet.request("1").await;
        (scene, job)
    }

    pub(crate) fn ports(&self) -> &Ports {
        &self.fleet.ports
    }

    pub(crate) async fn try_request(&self) -> Result<JobId, ControlError> {
        let (control, image) = (self.fleet.control_with_own_ports(), "golden".parse().unwrap());
        Ok(request_job(&control, &image, &"1".parse().unwrap(), &[], false).await?.job.id)
    }

    pub(crate) async fn get(&self, id: &ResourceId) -> Option<Resource> {
        self.ports().resources.get(id, None).await.unwrap()
    }

    pub(crate) async fn rows(&self, job: &JobId) -> Vec<Operation> {
        self.ports().table.operations(job).await.unwrap().into_iter().map(|row| row.value).collect()
    }

    pub(crate) fn targets(&self) -> Vec<Target> {
        goldfleet_config::targets::TargetsFile::load(&self.fleet.config.targets.file).unwrap().targets
    }

    pub(crate) fn image(&self, target: &Target) -> ResourceId {
        target.image(format!("golden-1-{}", target.region).parse().unwrap())
    }

    /// All disks and snapshots with this role.
    pub(crate) async fn of_role(&self, role: Role) -> Vec<Resource> {
        let mut found = Vec::new();
        for subscription in [1, 2, HUBS] {
            for resource_type in [ResourceType::Disk, ResourceType::Snapshot] {
                let query = ResourceQuery {
                    resource_type,
                    subscription: SubscriptionId::nth_for_tests(subscription),
                    resource_group: None,
                    tags: BTreeMap::new(),
                    tenant: None,
                    parent: None,
                };
                let ports = self.ports();
                let page = list_all(ports.resources.as_ref(), ports.clock.as_ref(), &query).await.unwrap();
                let is_wanted = |found: &Resource| Role::in_tags(&found.body.tags) == Some(role);
                found.extend(page.resources.into_iter().filter(is_wanted));
            }
        }
        found
    }

    /// The golden snapshots.
    pub(crate) async fn golden(&self) -> Vec<Resource> {
        self.of_role(Role::Golden).await
    }

    /// Asserts that each target has its image with the bytes of the golden VHD, that each of two regions has one golden
    /// snapshot with them, and that no temporary and no staging account exists.
    pub(crate) async fn assert_delivered(&self) {
        let expected = blake3::hash(&std::fs::read(self.fleet.golden()).unwrap()[..SIZE]);
        let targets = self.targets();
        for target in &targets {
            let id = self.image(target);
            assert_eq!(self.get(&id).await.expect("an image").body.region, target.region);
            assert_eq!(self.bytes(&id), expected, "{id}");
        }
        let golden = self.golden().await;
        let mut regions: Vec<&str> = golden.iter().map(|found| found.body.region.as_str()).collect();
        regions.sort_unstable();
        assert_eq!(regions, ["eastus", "westeurope"]);
        for found in &golden {
            assert_eq!(self.bytes(&found.id), expected, "{}", found.id);
        }
        self.assert_no_temporaries().await;
        for target in targets {
            assert!(!self.fleet.cloud().join(target.account.as_str()).exists(), "{} was used", target.account);
        }
        assert!(!self.fleet.cloud().join("goldjapaneast").exists(), "a region without targets got chunks");
    }

    pub(crate) async fn assert_no_temporaries(&self) {
        let left: Vec<ResourceId> = self.of_role(Role::Temporary).await.into_iter().map(|found| found.id).collect();
        assert!(left.is_empty(), "{left:#?}");
    }

    /// The file with the content of a resource.
    pub(crate) fn content(&self, id: &ResourceId) -> PathBuf {
        let ResourceId { subscription, resource_group, resource_type, name } = id;
        let group = format!("subscriptions/{subscription}/resourceGroups/{resource_group}");
        self.fleet.cloud().join(group).join(resource_type.segment()).join(format!("{name}.disk"))
    }

    pub(crate) fn bytes(&self, id: &ResourceId) -> blake3::Hash {
        let path = self.content(id);
        let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        blake3::hash(&bytes[..SIZE])
    }
}

/// Asserts that a job and all its operations succeeded.
pub(crate) fn assert_succeeded(status: &Status) {
    assert_eq!(status.state, ReportedState::Succeeded, "{status:#?}");
}
