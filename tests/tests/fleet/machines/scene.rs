//! A machine with disks on the directory cloud, and clones of it.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use goldfleet_dispatcher::control::context::ControlError;
use goldfleet_dispatcher::control::machines::plan::{PlannedClone, plan};
use goldfleet_dispatcher::control::machines::request::request;
use goldfleet_dispatcher::control::status::{ReportedState, Status};
use goldfleet_machines::request::{CloneRequest, Place};
use goldfleet_model::ids::{JobId, SubscriptionId};
use goldfleet_model::manifest::{Generation, OsType};
use goldfleet_model::operation::Operation;
use goldfleet_model::resource::{
    CreationData, DiskProperties, MachineProperties, PowerState, Properties, ResourceBody, ResourceId, ResourceType,
    Sku,
};
use goldfleet_ports::Ports;
use goldfleet_ports::disk_access::{Access, AccessRequest, MAX_ACCESS};
use goldfleet_ports::resources::{MachineAction, PutMode, PutRequest, Resource, ResourceQuery, list_all};
use goldfleet_snapshots::tags::Role;
use goldfleet_tests::fleet::InProcessFleet;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use serde_json::{Value, json};

/// The smallest disk that the service permits.
pub(crate) const SIZE: u64 = 20 << 20;

/// The LUNs of the machine's data disks.
pub(crate) const LUNS: [u32; 2] = [0, 5];

/// A fleet, and a machine `web` with an OS disk and two data disks in westeurope.
pub(crate) struct Scene {
    pub(crate) fleet: InProcessFleet,
    pub(crate) machine: ResourceId,
    pub(crate) disks: Vec<ResourceId>,
    pub(crate) contents: Vec<blake3::Hash>,
}

pub(crate) fn place(subscription: u32, region: &str, group: &str) -> Place {
    Place {
        subscription: SubscriptionId::nth_for_tests(subscription),
        region: region.parse().unwrap(),
        resource_group: group.parse().unwrap(),
    }
}

pub(crate) fn id(place: &Place, resource_type: ResourceType, name: &str) -> ResourceId {
    ResourceId {
        subscription: place.subscription,
        resource_group: place.resource_group.clone(),
        resource_type,
        name: name.parse().unwrap(),
    }
}

/// Where the machine is.
pub(crate) fn home() -> Place {
    place(1, "westeurope", "prod")
}

/// Another region and subscription.
pub(crate) fn remote() -> Place {
    place(2, "eastus", "clones")
}

/// Another group in the region and subscription of the machine.
pub(crate) fn near() -> Place {
    place(1, "westeurope", "clones")
}

impl Scene {
    /// A scene whose machine runs.
    pub(crate) async fn running() -> Self {
        let fleet = InProcessFleet::new();
        for Place { subscription, resource_group, .. } in [home(), near(), remote()] {
            let group = format!("subscriptions/{subscription}/resourceGroups/{resource_group}");
            std::fs::create_dir_all(fleet.cloud().join(group)).unwrap();
        }
        let mut rng = StdRng::seed_from_u64(20);
        let mut disks = Vec::new();
        for name in ["web-os", "web-data-a", "web-data-b"] {
            disks.push(disk(&fleet, &mut rng, name).await);
        }
        let machine = id(&home(), ResourceType::Machine, "web");
        let contents = disks.iter().map(|disk| bytes(&fleet, disk)).collect();
        let scene = Self { fleet, machine, disks, contents };
        scene.put(&scene.machine, machine_body(&scene.disks)).await;
        scene
    }

    /// A scene whose machine is deallocated.
    pub(crate) async fn stopped() -> Self {
        let scene = Self::running().await;
        scene.act(MachineAction::Deallocate).await;
        scene
    }

    pub(crate) fn ports(&self) -> &Ports {
        &self.fleet.ports
    }

    pub(crate) async fn put(&self, id: &ResourceId, body: ResourceBody) {
        put(&self.fleet, id, body).await;
    }

    pub(crate) async fn get(&self, id: &ResourceId) -> Option<Resource> {
        self.ports().resources.get(id, None).await.unwrap()
    }

    pub(crate) async fn act(&self, action: MachineAction) {
        self.ports().resources.act(&self.machine, action, None).await.unwrap();
    }

    pub(crate) async fn power(&self, machine: &ResourceId) -> PowerState {
        self.get(machine).await.unwrap().body.properties.machine().unwrap().power_state()
    }

    /// A request for a clone `copy`.
    pub(crate) fn to(&self, to: &Place) -> CloneRequest {
        let subnet = format!(
            "/subscriptions/{}/resourceGroups/net/providers/Microsoft.Network/virtualNetworks/main/subnets/apps",
            to.subscription
        );
        CloneRequest {
            source: self.machine.clone(),
            to: to.clone(),
            subnet: Some(subnet),
            name: Some("copy".to_owned()),
            disk_name: None,
            zone: None,
            availability_set: None,
            size: None,
            disk_sku: None,
            disk_encryption_set: None,
            stop: false,
            live: false,
            max_downtime: None,
            disks_only: false,
            as_image: false,
        }
    }

    /// Requests a clone as the command does.
    pub(crate) async fn request(&self, clone: &CloneRequest) -> JobId {
        let control = self.fleet.control_with_own_ports();
        request(&control.jobs, clone, None).await.unwrap().job.id
    }

    /// Requests a clone and performs it.
    pub(crate) async fn clone(&self, clone: &CloneRequest) -> (JobId, Status) {
        let job = self.request(clone).await;
        let status = self.fleet.run(self.ports(), 2, &job).await;
        (job, status)
    }

    /// The plan that the command shows.
    pub(crate) async fn plan(&self, clone: &CloneRequest) -> Result<PlannedClone, ControlError> {
        plan(&self.fleet.control_with_own_ports(), clone, &"20261129-120000-0000".parse().unwrap()).await
    }

    /// The codes for which a clone is refused.
    pub(crate) async fn refusals(&self, clone: &CloneRequest) -> Vec<String> {
        let planned = self.plan(clone).await.unwrap();
        assert_eq!(planned.is_refused(), planned.groups.is_empty());
        planned.findings.into_iter().filter(|finding| finding.failed).map(|finding| finding.code).collect()
    }

    /// The rows of a job.
    pub(crate) async fn rows(&self, job: &JobId) -> Vec<Operation> {
        self.ports().table.operations(job).await.unwrap().into_iter().map(|row| row.value).collect()
    }

    /// The codes of the rows that failed, with their steps.
    pub(crate) async fn failures(&self, job: &JobId) -> BTreeMap<String, String> {
        let failed = self.rows(job).await.into_iter().filter(|row| row.state.ended_badly());
        failed.filter_map(|row| Some((row.id.step().to_owned(), row.failure?.code))).collect()
    }

    pub(crate) async fn resources(&self, place: &Place, resource_type: ResourceType) -> Vec<Resource> {
        let query = ResourceQuery {
            resource_type,
            subscription: place.subscription,
            resource_group: Some(place.resource_group.clone()),
            parent: None,
            tags: BTreeMap::new(),
            tenant: None,
        };
        list_all(self.ports().resources.as_ref(), self.ports().clock.as_ref(), &query).await.unwrap().resources
    }

    /// Asserts that no temporary exists.
    pub(crate) async fn assert_no_temporaries(&self) {
        for place in [home(), near(), remote()] {
            for resource_type in [ResourceType::Disk, ResourceType::Snapshot, ResourceType::RestorePointCollection] {
                let found = self.resources(&place, resource_type).await;
                let left: Vec<_> =
                    found.iter().filter(|found| Role::in_tags(&found.body.tags) == Some(Role::Temporary)).collect();
                assert!(left.is_empty(), "{left:#?}");
            }
        }
    }

    /// Asserts that the source has its disks with their content, and that it is in this state.
    pub(crate) async fn assert_source(&self, state: PowerState) {
        assert_eq!(self.power(&self.machine).await, state);
        let found = self.disks.iter().map(|disk| bytes(&self.fleet, disk)).collect::<Vec<_>>();
        assert_eq!(found, self.contents);
    }

    /// The ids of the clone's disks, in the order of the source.
    pub(crate) fn clone_disks(&self, to: &Place) -> Vec<ResourceId> {
        let luns = LUNS.map(|lun| lun.to_string());
        let luns = std::iter::once("os").chain(luns.iter().map(String::as_str));
        luns.map(|lun| id(to, ResourceType::Disk, &format!("copy-{lun}"))).collect()
    }

    /// Asserts that the disks of a clone have the bytes and the tags of their sources.
    pub(crate) async fn assert_disks(&self, to: &Place) {
        for (disk, expected) in self.clone_disks(to).iter().zip(&self.contents) {
            let found = self.get(disk).await.unwrap_or_else(|| panic!("{disk} does not exist"));
            assert_eq!(bytes(&self.fleet, disk), *expected, "{disk}");
            assert_eq!(found.body.region, to.region);
            assert_eq!(found.body.tags["owner"], "payments");
            assert_eq!(Role::in_tags(&found.body.tags), Some(Role::Clone));
        }
    }

    /// Asserts that a complete clone exists, and returns it.
    pub(crate) async fn assert_cloned(&self, to: &Place) -> Resource {
        self.assert_disks(to).await;
        let clone = self.get(&id(to, ResourceType::Machine, "copy")).await.expect("a clone");
        let machine = clone.body.properties.machine().unwrap();
        assert_eq!(machine.power_state(), PowerState::Running);
        let found: Vec<_> = machine
            .disks()
            .map(|disk| (disk.lun, disk.caching.clone(), disk.disk_id().unwrap().parse::<ResourceId>().unwrap()))
            .collect();
        let caches = ["ReadWrite", "None", "ReadOnly"].map(|cache| Some(cache.to_owned()));
        let luns = std::iter::once(None).chain(LUNS.map(Some));
        let expected: Vec<_> =
            luns.zip(caches).zip(self.clone_disks(to)).map(|((lun, cache), id)| (lun, cache, id)).collect();
        assert_eq!(found, expected);
        self.assert_no_temporaries().await;
        clone
    }

    /// The file with the content of a disk.
    pub(crate) fn content(&self, disk: &ResourceId) -> PathBuf {
        content(&self.fleet, disk)
    }

    /// A hash of the bytes of a file with the content of a disk.
    pub(crate) fn bytes_of(&self, file: &Path) -> blake3::Hash {
        hash_of(file)
    }

    /// Changes the file of a resource, as the service does.
    pub(crate) fn edit(&self, id: &ResourceId, change: impl FnOnce(&mut Value)) {
        let path = content(&self.fleet, id).with_extension("json");
        let mut value: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        change(&mut value);
        std::fs::write(path, value.to_string()).unwrap();
    }
}

/// Asserts that a job and all its operations succeeded.
pub(crate) fn assert_succeeded(status: &Status) {
    assert_eq!(status.state, ReportedState::Succeeded, "{status:#?}");
}

async fn put(fleet: &InProcessFleet, id: &ResourceId, body: ResourceBody) {
    let request = PutRequest { id: id.clone(), tenant: None, mode: PutMode::Create, body };
    fleet.ports.resources.put(&request).await.unwrap();
}

/// Creates a disk with random content.
async fn disk(fleet: &InProcessFleet, rng: &mut StdRng, name: &str) -> ResourceId {
    let id = id(&home(), ResourceType::Disk, name);
    let mut disk = DiskProperties::new(CreationData::upload(SIZE));
    if name == "web-os" {
        (disk.os_type, disk.hyper_v_generation) = (Some(OsType::Linux), Some(Generation::V2));
        disk.other.insert("securityProfile".to_owned(), json!({ "securityType": "TrustedLaunch" }));
    }
    disk.other.insert("networkAccessPolicy".to_owned(), json!("AllowPrivate"));
    let tags = BTreeMap::from([("owner".to_owned(), "payments".to_owned())]);
    let sku = Some(Sku { name: "Premium_LRS".to_owned(), ..Sku::default() });
    let body = ResourceBody { sku, ..ResourceBody::new(home().region, Properties::Disk(disk)).with_tags(tags) };
    put(fleet, &id, body).await;
    let access = AccessRequest { id: id.clone(), tenant: None, access: Access::Write, duration: MAX_ACCESS };
    fleet.ports.disk_access.begin(&access).await.unwrap();
    let file = OpenOptions::new().write(true).open(content(fleet, &id)).unwrap();
    for _ in 0..4 {
        let block: u64 = rng.random_range(0..20 << 8);
        file.write_all_at(&rng.random::<[u8; 32]>().repeat(128), block << 12).unwrap();
    }
    fleet.ports.disk_access.end(&id, None).await.unwrap();
    id
}

fn machine_body(disks: &[ResourceId]) -> ResourceBody {
    let disk = |n: usize, cache: &str| json!({ "createOption": "Attach", "caching": cache, "managedDisk": { "id": disks[n] } });
    let data = |n: usize, lun: u32, cache: &str| {
        let mut disk = disk(n, cache);
        disk["lun"] = json!(lun);
        disk
    };
    let mut os = disk(0, "ReadWrite");
    os["osType"] = json!("Linux");
    let properties: MachineProperties = serde_json::from_value(json!({
        "hardwareProfile": { "vmSize": "Standard_D4s_v5" },
        "storageProfile": { "osDisk": os, "dataDisks": [data(1, LUNS[0], "None"), data(2, LUNS[1], "ReadOnly")] },
        "securityProfile": { "securityType": "TrustedLaunch", "uefiSettings": { "secureBootEnabled": true } },
        "licenseType": "RHEL_BYOS",
        "networkProfile": { "networkInterfaces": [{ "id": "/the/source/has/this/interface" }] },
        "osProfile": { "computerName": "web" },
    }))
    .unwrap();
    let tags = BTreeMap::from([("app".to_owned(), "shop".to_owned())]);
    let mut body = ResourceBody::new(home().region, Properties::Machine(Box::new(properties))).with_tags(tags);
    body.other.insert("zones".to_owned(), json!(["2"]));
    body.other.insert("plan".to_owned(), json!({ "name": "os", "publisher": "vendor", "product": "linux" }));
    body.other.insert("identity".to_owned(), json!({ "type": "SystemAssigned" }));
    body
}

/// The file with the content of a disk or snapshot.
fn content(fleet: &InProcessFleet, id: &ResourceId) -> PathBuf {
    let ResourceId { subscription, resource_group, resource_type, name } = id;
    let group = format!("subscriptions/{subscription}/resourceGroups/{resource_group}");
    fleet.cloud().join(group).join(resource_type.segment()).join(format!("{name}.disk"))
}

/// A hash of the bytes of a disk, without the footer of an uploaded one.
fn bytes(fleet: &InProcessFleet, id: &ResourceId) -> blake3::Hash {
    hash_of(&content(fleet, id))
}

fn hash_of(file: &Path) -> blake3::Hash {
    let bytes = std::fs::read(file).unwrap();
    blake3::hash(&bytes[..usize::try_from(SIZE).unwrap()])
}
