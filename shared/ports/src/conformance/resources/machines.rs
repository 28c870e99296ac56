//! Virtual machines and the disks that are attached to them.

use goldfleet_model::resource::{
    CollectionProperties, CreateOption, CreationData, DiskProperties, DiskState, MachineProperties, PowerState,
    Properties, ResourceBody, ResourceId, ResourceType,
};
use serde_json::json;

use super::{ResourceSuite, tags};
use crate::error::ErrorKind;
use crate::resources::{MachineAction, PutMode, PutRequest, Resource};

/// The properties of a machine.
fn machine_of(resource: &Resource) -> &MachineProperties {
    resource.body.properties.machine().expect("a machine")
}

impl ResourceSuite<'_> {
    /// Runs the part of the suite about virtual machines.
    pub async fn machines(self) {
        self.machine_attaches_its_disks_and_runs().await;
        self.machine_is_deallocated_and_started().await;
        self.disk_is_attached_to_one_machine().await;
        self.machine_needs_existing_disks_of_its_region().await;
        self.machine_gets_other_tags().await;
        self.disks_outlive_their_machine().await;
        self.snapshot_of_attached_disk_is_a_source().await;
        self.actions_need_an_existing_machine().await;
        self.restore_point_has_the_disks_of_a_running_machine().await;
    }

    /// A request for a machine with these disks. The first one is the OS disk.
    fn machine_with(self, disks: &[&ResourceId]) -> PutRequest {
        let attach =
            |id: &ResourceId| json!({ "createOption": "Attach", "caching": "ReadOnly", "managedDisk": { "id": id } });
        let mut profile = json!({ "osDisk": attach(disks[0]), "dataDisks": [] });
        profile["osDisk"]["osType"] = json!("Linux");
        for (lun, id) in disks[1..].iter().enumerate() {
            let mut disk = attach(id);
            disk["lun"] = json!(lun * 7);
            profile["dataDisks"].as_array_mut().expect("a list").push(disk);
        }
        let subnet = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/virtualNetworks/v/subnets/n";
        let address = json!({ "name": "primary", "properties": { "primary": true, "subnet": { "id": subnet } } });
        let properties = json!({
            "hardwareProfile": { "vmSize": "Standard_D2s_v5" },
            "storageProfile": profile,
            "networkProfile": {
                "networkApiVersion": "2022-11-01",
                "networkInterfaceConfigurations": [
                    { "name": "nic", "properties": { "primary": true, "ipConfigurations": [address] } },
                ],
            },
            "licenseType": "RHEL_BYOS",
        });
        let machine: MachineProperties = serde_json::from_value(properties).expect("a machine");
        self.request(Properties::Machine(Box::new(machine)))
    }

    async fn new_machine(self, disks: &[&ResourceId]) -> Resource {
        let request = self.machine_with(disks);
        self.put(&request).await.expect("a machine");
        self.existing(&request.id).await
    }

    async fn act(self, id: &ResourceId, action: MachineAction) {
        self.finished(self.resources.act(id, action, None).await).await.expect("an action");
    }

    async fn power(self, id: &ResourceId) -> PowerState {
        machine_of(&self.existing(id).await).power_state()
    }

    async fn assert_disk(self, disk: &ResourceId, machine: Option<&ResourceId>, state: DiskState) {
        let found = self.existing(disk).await;
        let owner = found.body.machine().map(|id| id.parse::<ResourceId>().expect("an id"));
        assert_eq!(owner.as_ref(), machine, "{found:?}");
        let found = found.body.properties.disk().and_then(|disk| disk.disk_state.clone());
        assert_eq!(found, Some(state), "{disk}");
    }

    /// A new machine runs and has its disks.
    pub async fn machine_attaches_its_disks_and_runs(self) {
        let (os, data) = (self.new_disk().await, self.new_disk().await);
        let machine = self.new_machine(&[&os.id, &data.id]).await;
        let properties = machine_of(&machine);
        assert!(properties.vm_id.is_some(), "{machine:?}");
        assert_eq!(properties.power_state(), PowerState::Running);
        assert_eq!(properties.size(), Some("Standard_D2s_v5"));
        assert_eq!(properties.license_type.as_deref(), Some("RHEL_BYOS"));
        let disks: Vec<_> = properties.disks().map(|disk| (disk.lun, disk.caching.as_deref())).collect();
        assert_eq!(disks, [(None, Some("ReadOnly")), (Some(0), Some("ReadOnly"))]);
        for disk in [&os.id, &data.id] {
            self.assert_disk(disk, Some(&machine.id), DiskState::Attached).await;
        }
    }

    /// A restore point of a machine that runs has all its disks, and disks are created from them after the machine was
    /// changed. Its collection is deleted with it.
    pub async fn restore_point_has_the_disks_of_a_running_machine(self) {
        let (os, data) = (self.new_disk().await, self.new_disk().await);
        let machine = self.new_machine(&[&os.id, &data.id]).await;
        let source = serde_json::from_value(json!({ "id": machine.id })).expect("a reference");
        let properties = CollectionProperties { source: Some(source), ..CollectionProperties::default() };
        let collection = self.request(Properties::RestorePointCollection(properties));
        self.put(&collection).await.expect("a collection");
        let id = collection.id.child(ResourceType::RestorePoint, &"live".parse().expect("a name"));
        let value = json!({ "properties": { "consistencyMode": "CrashConsistent" } });
        let body = ResourceBody::from_json(ResourceType::RestorePoint, value).expect("a restore point");
        let request = PutRequest { id: id.clone(), tenant: None, mode: PutMode::CreateOrUpdate, body };
        self.put(&request).await.expect("a restore point");
        let found = self.existing(&id).await;
        let point = found.body.properties.restore_point().expect("a restore point");
        assert_eq!(point.vm_id(), machine_of(&machine).vm_id.as_ref().map(|id| id.to_ascii_lowercase()));
        self.delete(&machine.id).await.expect("a deletion");
        for (lun, of) in [(None, &os), (Some(0), &data)] {
            let restored = point.disk(lun).expect("a disk");
            let mut creation = CreationData::copy(&of.id);
            creation.create_option = CreateOption::Restore;
            creation.source_resource_id = Some(restored.to_owned());
            let disk = self.request(Properties::Disk(DiskProperties::new(creation)));
            self.put(&disk).await.expect("a restored disk");
            let size = |found: &Resource| found.body.properties.disk().and_then(|disk| disk.disk_size_bytes);
            assert_eq!(size(&self.existing(&disk.id).await), size(of), "{lun:?}");
        }
        assert_eq!(point.disk(Some(7)), None);
        self.delete(&collection.id).await.expect("a deletion");
        assert_eq!((self.find(&id).await, self.find(&collection.id).await), (None, None));
    }

    /// A machine is deallocated and started. Both can be repeated.
    pub async fn machine_is_deallocated_and_started(self) {
        let disk = self.new_disk().await;
        let machine = self.new_machine(&[&disk.id]).await;
        for (action, state, of_disk) in [
            (MachineAction::Start, PowerState::Running, DiskState::Attached),
            (MachineAction::Deallocate, PowerState::Deallocated, DiskState::Reserved),
            (MachineAction::Deallocate, PowerState::Deallocated, DiskState::Reserved),
            (MachineAction::Start, PowerState::Running, DiskState::Attached),
        ] {
            self.act(&machine.id, action).await;
            assert_eq!(self.power(&machine.id).await, state);
            self.assert_disk(&disk.id, Some(&machine.id), of_disk).await;
        }
        assert_eq!(machine_of(&self.existing(&machine.id).await).vm_id, machine_of(&machine).vm_id);
    }

    /// A disk of a machine is not attached to another one, and not deleted.
    pub async fn disk_is_attached_to_one_machine(self) {
        let disk = self.new_disk().await;
        let machine = self.new_machine(&[&disk.id]).await;
        let other = self.machine_with(&[&disk.id]);
        let refusal = self.put(&other).await.expect_err("a refusal");
        assert_eq!(refusal.kind, ErrorKind::Conflict, "{refusal:?}");
        assert_eq!(self.find(&other.id).await, None);
        let refusal = self.delete(&disk.id).await.expect_err("a refusal");
        assert_eq!(refusal.kind, ErrorKind::Conflict, "{refusal:?}");
        self.assert_disk(&disk.id, Some(&machine.id), DiskState::Attached).await;
    }

    /// The disks of a machine exist, in its region.
    pub async fn machine_needs_existing_disks_of_its_region(self) {
        let disk = self.new_disk().await;
        let mut elsewhere = self.machine_with(&[&disk.id]);
        elsewhere.body.region = self.location.other_region.clone();
        let missing = self.machine_with(&[&self.new_id(ResourceType::Disk)]);
        for request in [elsewhere, missing] {
            self.put(&request).await.expect_err("a refusal");
            assert_eq!(self.find(&request.id).await, None);
        }
        self.assert_disk(&disk.id, None, DiskState::Unattached).await;
    }

    /// A machine is not created twice. A machine that is read, gets a tag and is written again keeps all other
    /// properties.
    pub async fn machine_gets_other_tags(self) {
        let disk = self.new_disk().await;
        let request = self.machine_with(&[&disk.id]);
        self.put(&request).await.expect("a machine");
        let before = self.existing(&request.id).await;
        let again = PutRequest { mode: PutMode::Create, ..request.clone() };
        assert_eq!(self.put(&again).await.expect_err("a refusal").kind, ErrorKind::AlreadyExists);
        self.act(&before.id, MachineAction::Deallocate).await;
        let changed = PutRequest { body: before.body.clone().with_tags(tags("changed")), ..request };
        self.put(&changed).await.expect("other tags");
        let after = self.existing(&before.id).await;
        assert_eq!(after.body.tags, changed.body.tags);
        assert_eq!(machine_of(&after).vm_id, machine_of(&before).vm_id);
        assert_eq!(machine_of(&after).power_state(), PowerState::Deallocated, "tags do not start a machine");
    }

    /// The disks of a machine that is deleted can be used by others.
    pub async fn disks_outlive_their_machine(self) {
        let disk = self.new_disk().await;
        let machine = self.new_machine(&[&disk.id]).await;
        for time in ["first", "second"] {
            self.delete(&machine.id).await.expect(time);
        }
        assert_eq!(self.find(&machine.id).await, None);
        self.assert_disk(&disk.id, None, DiskState::Unattached).await;
        let next = self.new_machine(&[&disk.id]).await;
        self.assert_disk(&disk.id, Some(&next.id), DiskState::Attached).await;
        assert_ne!(machine_of(&next).vm_id, machine_of(&machine).vm_id);
    }

    /// The disk of a machine has snapshots, and a disk of such a snapshot belongs to no machine.
    pub async fn snapshot_of_attached_disk_is_a_source(self) {
        let disk = self.new_disk().await;
        self.new_machine(&[&disk.id]).await;
        let snapshot = self.snapshot_of(&disk.id, true);
        self.put(&snapshot).await.expect("a snapshot");
        self.arrived(&snapshot.id).await;
        let copy = self.request(Properties::Disk(DiskProperties::new(CreationData::copy(&snapshot.id))));
        self.put(&copy).await.expect("a disk");
        self.assert_disk(&copy.id, None, DiskState::Unattached).await;
    }

    /// An action on a machine that does not exist is an error.
    pub async fn actions_need_an_existing_machine(self) {
        let id = self.new_id(ResourceType::Machine);
        for action in [MachineAction::Deallocate, MachineAction::Start] {
            let refusal = self.finished(self.resources.act(&id, action, None).await).await.expect_err("a refusal");
            assert_eq!(refusal.kind, ErrorKind::NotFound, "{refusal:?}");
        }
    }
}
