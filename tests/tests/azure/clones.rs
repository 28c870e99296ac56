//! The requests of a clone of a machine, against the double of Resource Manager, which checks them as Azure's
//! specification demands.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use goldfleet_azure::AzureResources;
use goldfleet_machines::graph::groups;
use goldfleet_machines::plan::{ClonePlan, Cloner};
use goldfleet_machines::request::CloneRequest;
use goldfleet_machines::source::{Source, SourceDisk};
use goldfleet_machines::spec::{Row, RowSpec};
use goldfleet_model::ids::SubscriptionId;
use goldfleet_model::resource::{
    CreationData, DiskProperties, InstanceStatus, PowerState, Properties, ResourceBody, ResourceId, ResourceType,
    SnapshotProperties,
};
use goldfleet_ports::disk_access::{Access, AccessRequest, AccessStatus, DiskAccess as _, MAX_ACCESS};
use goldfleet_ports::error::{ErrorKind, PortResult};
use goldfleet_ports::resources::{ChangeStatus, MachineAction, PutMode, PutRequest, Resource, ResourceService as _};
use goldfleet_snapshots::graph::RowSpec as SnapshotSpec;
use goldfleet_tests::azure::arm::{Authorization, Links, LongRunning};
use goldfleet_tests::azure::fixture::AzureFixture;
use serde_json::json;
use uuid::Uuid;

fn id(resource_type: ResourceType, name: &str) -> ResourceId {
    ResourceId {
        subscription: SubscriptionId::nth_for_tests(1),
        resource_group: "images".parse().unwrap(),
        resource_type,
        name: name.parse().unwrap(),
    }
}

async fn follow(resources: &AzureResources, begun: PortResult<ChangeStatus>) -> PortResult<()> {
    let mut state = begun?;
    loop {
        state = match state {
            ChangeStatus::Done => return Ok(()),
            ChangeStatus::Failed(error) => return Err(error),
            ChangeStatus::Pending(pending) => {
                tokio::time::sleep(pending.retry_after.min(Duration::from_millis(20))).await;
                resources.poll(&pending).await?
            }
        }
    }
}

async fn put(resources: &AzureResources, id: &ResourceId, body: ResourceBody) -> Resource {
    let request = PutRequest { id: id.clone(), tenant: None, mode: PutMode::Create, body };
    follow(resources, resources.put(&request).await).await.unwrap_or_else(|error| panic!("{id}: {error:?}"));
    get(resources, id).await
}

/// Reads a resource until its content has arrived.
async fn get(resources: &AzureResources, id: &ResourceId) -> Resource {
    loop {
        let found = resources.get(id, None).await.unwrap().unwrap_or_else(|| panic!("{id} does not exist"));
        match &found.body.properties {
            Properties::Snapshot(snapshot) if !SnapshotProperties::is_complete(snapshot) => {}
            _ => return found,
        }
    }
}

async fn disk(resources: &AzureResources, name: &str) -> Resource {
    let id = id(ResourceType::Disk, name);
    let mut disk = DiskProperties::new(CreationData::upload(20 << 20));
    disk.other.insert("supportedCapabilities".to_owned(), json!({ "architecture": "x64" }));
    let body = ResourceBody::new("westeurope".parse().unwrap(), Properties::Disk(disk));
    put(resources, &id, body).await;
    let access = AccessRequest { id: id.clone(), tenant: None, access: Access::Write, duration: MAX_ACCESS };
    let mut status = resources.begin(&access).await.unwrap();
    while let AccessStatus::Pending(pending) = status {
        status = resources.poll_begin(&pending).await.unwrap();
    }
    let mut state = resources.end(&id, None).await.unwrap();
    while let ChangeStatus::Pending(pending) = state {
        state = resources.poll_end(&pending).await.unwrap();
    }
    get(resources, &id).await
}

/// The source. Its disks are in place before the operations get these links, because a SAS has no other place.
async fn source(azure: &AzureFixture, links: Links, resources: &AzureResources) -> Source {
    let disks = [disk(resources, "web-os").await, disk(resources, "web-data").await];
    azure.manager.world().write(|world| world.long_running = LongRunning { links, ..LongRunning::default() });
    let attach =
        |n: usize| json!({ "createOption": "Attach", "caching": "ReadWrite", "managedDisk": { "id": disks[n].id } });
    let (mut os, mut data) = (attach(0), attach(1));
    (os["osType"], data["lun"]) = (json!("Linux"), json!(4));
    let body = json!({
        "location": "westeurope", "tags": { "app": "shop" }, "zones": ["1"],
        "plan": { "name": "n", "publisher": "p", "product": "o" },
        "properties": {
            "hardwareProfile": { "vmSize": "Standard_D2s_v5" },
            "storageProfile": { "osDisk": os, "dataDisks": [data] },
            "networkProfile": { "networkInterfaces": [{ "id": "/nic" }] },
            "securityProfile": { "securityType": "TrustedLaunch", "uefiSettings": { "secureBootEnabled": true, "vTpmEnabled": true } },
            "licenseType": "RHEL_BYOS",
        },
    });
    let id = id(ResourceType::Machine, "web");
    let machine = put(resources, &id, ResourceBody::from_json(ResourceType::Machine, body).unwrap()).await;
    follow(resources, resources.act(&id, MachineAction::Deallocate, None).await).await.unwrap();
    let attachments = machine.body.properties.machine().unwrap().disks().cloned();
    let mut found = Vec::new();
    for (attachment, disk) in attachments.zip(disks) {
        let body = get(resources, &disk.id).await.body;
        found.push(SourceDisk { id: disk.id, body, attachment });
    }
    Source { id: id.clone(), body: get(resources, &id).await.body, disks: found }
}

/// The rows of a plan, made one after the other. The rows of a group are a chain, and the machine comes last.
async fn perform(resources: &AzureResources, groups: &[Vec<Row>]) {
    for row in groups.iter().flatten() {
        match &row.spec {
            RowSpec::Resource(SnapshotSpec::Create(spec)) => {
                let id: ResourceId = spec.id.parse().unwrap();
                let mut body = spec.body.clone();
                if let Some(restored) = &spec.restored {
                    let point = get(resources, &restored.point.parse().unwrap()).await;
                    let disk = point.body.properties.restore_point().unwrap().disk(restored.lun).unwrap().to_owned();
                    body["properties"]["creationData"]["sourceResourceId"] = json!(disk);
                }
                put(resources, &id, ResourceBody::from_json(id.resource_type, body).unwrap()).await;
            }
            RowSpec::Restore(spec) => {
                let body = ResourceBody::from_json(ResourceType::RestorePointCollection, spec.body.clone()).unwrap();
                put(resources, &spec.id, body).await;
                let point = json!({ "properties": { "consistencyMode": "CrashConsistent" } });
                let body = ResourceBody::from_json(ResourceType::RestorePoint, point).unwrap();
                put(resources, &spec.point, body).await;
            }
            RowSpec::Resource(SnapshotSpec::RemoveTemporary(spec)) => {
                let id: ResourceId = spec.id.parse().unwrap();
                follow(resources, resources.delete(&id, None).await).await.unwrap();
            }
            RowSpec::Capture(spec) => {
                let body = ResourceBody::from_json(ResourceType::Image, spec.body.clone()).unwrap();
                put(resources, &spec.id, body).await;
            }
            RowSpec::Machine(spec) => {
                let body = ResourceBody::from_json(ResourceType::Machine, spec.body.clone()).unwrap();
                put(resources, &spec.id, body).await;
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn requests_of_a_clone_follow_the_specification() {
    for links in [Links::Both, Links::Location, Links::AsyncOperation, Links::None] {
        let azure = AzureFixture::start(1, &["westeurope", "eastus"]);
        azure.manager.world().write(|world| {
            world.roles.clear();
            world.authorization = Authorization::Open;
        });
        let resources = azure.resources();
        azure.run(clone(&azure, links, &resources));
        let left: Vec<String> = azure.manager.disks().iter().map(|disk| disk["name"].to_string()).collect();
        assert!(left.iter().all(|name| !name.contains("gf-temporary")), "{left:?}");
    }
}

async fn clone(azure: &AzureFixture, links: Links, resources: &AzureResources) {
    let source = source(azure, links, resources).await;
    assert_eq!(source.machine().unwrap().power_state(), PowerState::Deallocated);
    for (region, name) in [("westeurope", "near"), ("eastus", "far")] {
        let subnet = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/n/providers/Microsoft.Network/\
                      virtualNetworks/v/subnets/s";
        let request: CloneRequest = serde_json::from_value(json!({
            "source": source.id,
            "to": { "subscription": source.id.subscription, "region": region, "resource_group": "images" },
            "name": name, "subnet": subnet, "disk_sku": "StandardSSD_LRS",
        }))
        .unwrap();
        let plan = ClonePlan::new(&request, &source).unwrap();
        let by = Cloner { fleet: Uuid::from_u128(7), job: "20261129-120000-abcd".parse().unwrap() };
        perform(resources, &groups(&plan, &by)).await;
        let made = get(resources, &id(ResourceType::Machine, name)).await;
        let machine = made.body.properties.machine().unwrap();
        assert_eq!(machine.power_state(), PowerState::Running);
        let disks: Vec<_> = machine.disks().map(|disk| (disk.lun, disk.disk_id().unwrap().to_owned())).collect();
        let disk = |lun: &str| id(ResourceType::Disk, &format!("{name}-{lun}"));
        assert_eq!(disks, [(None, disk("os").to_string()), (Some(4), disk("4").to_string())]);
        assert_eq!(get(resources, &disk("4")).await.body.machine(), Some(made.id.to_string().as_str()));
    }
}

/// A machine that runs, in its region and in another one. What was deleted with the collection is not found any more.
#[test]
fn requests_of_a_live_clone_follow_the_specification() {
    for links in [Links::Both, Links::None] {
        let azure = AzureFixture::start(1, &["westeurope", "eastus"]);
        azure.manager.world().write(|world| {
            world.roles.clear();
            world.authorization = Authorization::Open;
        });
        let resources = azure.resources();
        azure.run(async {
            let mut source = source(&azure, links, &resources).await;
            follow(&resources, resources.act(&source.id, MachineAction::Start, None).await).await.unwrap();
            source.body = get(&resources, &source.id).await.body;
            assert_eq!(source.machine().unwrap().power_state(), PowerState::Running);
            for (region, name) in [("westeurope", "near"), ("eastus", "far")] {
                let request: CloneRequest = serde_json::from_value(json!({
                    "source": source.id,
                    "to": { "subscription": source.id.subscription, "region": region, "resource_group": "images" },
                    "name": name, "disks_only": true, "live": true,
                }))
                .unwrap();
                let plan = ClonePlan::new(&request, &source).unwrap();
                let by = Cloner { fleet: Uuid::from_u128(7), job: "20261129-120000-abcd".parse().unwrap() };
                let groups = groups(&plan, &by);
                let is_removal = |row: &&Row| matches!(row.spec, RowSpec::Resource(SnapshotSpec::RemoveTemporary(_)));
                let (removals, others): (Vec<&Row>, Vec<&Row>) = groups.iter().flatten().partition(is_removal);
                for rows in [others, removals] {
                    perform(&resources, &[rows.into_iter().cloned().collect()]).await;
                }
                for lun in ["os", "4"] {
                    let disk = get(&resources, &id(ResourceType::Disk, &format!("{name}-{lun}"))).await;
                    assert_eq!(disk.body.properties.disk().unwrap().size(), Some(20 << 20));
                }
            }
        });
        let left: Vec<String> = azure.manager.disks().iter().map(|disk| disk["name"].to_string()).collect();
        assert!(left.iter().all(|name| !name.contains("gf-temporary")), "{left:?}");
        assert!(azure.manager.world().read(|world| world.galleries.is_empty()), "the collections and what is in them");
    }
}

/// The image of a machine, in its region and in another one. The double refuses images of incremental snapshots.
#[test]
fn requests_of_an_image_follow_the_specification() {
    let azure = AzureFixture::start(1, &["westeurope", "eastus"]);
    azure.manager.world().write(|world| {
        world.roles.clear();
        world.authorization = Authorization::Open;
        world.behaviours.image_from_incremental = false;
    });
    let resources = azure.resources();
    azure.run(async {
        let mut source = source(&azure, Links::Both, &resources).await;
        let machine = source.body.properties.machine_mut().unwrap();
        machine.security_profile = None;
        let generalized = InstanceStatus { code: "OSState/generalized".to_owned(), ..InstanceStatus::default() };
        machine.instance_view.as_mut().unwrap().statuses.push(generalized);
        for (region, name) in [("westeurope", "near"), ("eastus", "far")] {
            let request: CloneRequest = serde_json::from_value(json!({
                "source": source.id,
                "to": { "subscription": source.id.subscription, "region": region, "resource_group": "images" },
                "name": name, "disk_sku": "StandardSSD_LRS", "as_image": true,
            }))
            .unwrap();
            let plan = ClonePlan::new(&request, &source).unwrap();
            let by = Cloner { fleet: Uuid::from_u128(7), job: "20261129-120000-abcd".parse().unwrap() };
            let groups = groups(&plan, &by);
            // The temporaries are removed after the image, which is in the last group.
            let is_removal = |row: &&Row| matches!(row.spec, RowSpec::Resource(SnapshotSpec::RemoveTemporary(_)));
            let (removals, others): (Vec<&Row>, Vec<&Row>) = groups.iter().flatten().partition(is_removal);
            for rows in [others, removals] {
                perform(&resources, &[rows.into_iter().cloned().collect()]).await;
            }
            let image = get(&resources, &id(ResourceType::Image, name)).await;
            let Properties::Image(image) = &image.body.properties else { panic!("{image:?}") };
            let profile = image.storage_profile.as_ref().unwrap();
            let os = profile.os_disk.as_ref().unwrap();
            assert_eq!(
                (os.os_state.as_deref(), os.storage_account_type.as_deref()),
                (Some("Generalized"), Some("StandardSSD_LRS"))
            );
            assert_eq!(profile.data_disks.iter().map(|data| data.lun).collect::<Vec<_>>(), [4]);
        }
        let left: Vec<String> = azure.manager.disks().iter().map(|disk| disk["name"].to_string()).collect();
        assert!(left.iter().all(|name| !name.contains("gf-temporary")), "{left:?}");
    });
}

/// Two clones get the same name at the same time. Both find the name free, and only one creates its machine: the other
/// one is refused by the service, and changes nothing.
#[test]
fn a_machine_is_created_once() {
    let azure = AzureFixture::start(1, &["westeurope"]);
    azure.manager.world().write(|world| {
        world.roles.clear();
        world.authorization = Authorization::Open;
    });
    let resources = azure.resources();
    azure.run(async {
        let disks = [disk(&resources, "one").await, disk(&resources, "other").await];
        for round in 0..4 {
            let machine = id(ResourceType::Machine, &format!("web-{round}"));
            let request = |disk: &Resource| {
                let attach = json!({ "createOption": "Attach", "osType": "Linux", "managedDisk": { "id": disk.id } });
                let body = json!({
                    "location": "westeurope",
                    "properties": {
                        "hardwareProfile": { "vmSize": "Standard_D2s_v5" },
                        "storageProfile": { "osDisk": attach },
                        "networkProfile": { "networkInterfaces": [{ "id": "/nic" }] },
                    },
                });
                let body = ResourceBody::from_json(ResourceType::Machine, body).unwrap();
                PutRequest { id: machine.clone(), tenant: None, mode: PutMode::Create, body }
            };
            let [one, other] = [request(&disks[0]), request(&disks[1])];
            let (one, other) = tokio::join!(resources.put(&one), resources.put(&other));
            let refused: Vec<_> = [&one, &other].into_iter().filter_map(|put| put.as_ref().err()).collect();
            assert_eq!(refused.len(), 1, "{one:?}, {other:?}");
            assert_eq!(refused[0].kind, ErrorKind::AlreadyExists, "{refused:?}");
            let winner = if one.is_ok() { 0 } else { 1 };
            follow(&resources, if one.is_ok() { one } else { other }).await.unwrap();
            let made = get(&resources, &machine).await;
            let os = made.body.properties.machine().unwrap().disks().next().unwrap().disk_id().unwrap().to_owned();
            assert_eq!(os, disks[winner].id.to_string());
            follow(&resources, resources.delete(&machine, None).await).await.unwrap();
        }
    });
}
