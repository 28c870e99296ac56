//! What is refused before the first change.

use goldfleet_model::job::Finding;
use goldfleet_model::manifest::Generation;
use goldfleet_model::resource::PowerState;
use goldfleet_snapshots::tags::MAX_TAGS;
use serde_json::Value;

use crate::body;
use crate::request::CloneRequest;
use crate::source::{Source, SourceDisk};

/// The number of tags that goldfleet adds to a clone.
const OWN_TAGS: usize = 4;

/// Performance tiers that an OS disk cannot have. Source: Azure, disk types.
const DATA_ONLY: [&str; 2] = ["UltraSSD_LRS", "PremiumV2_LRS"];

/// The faults of a request. Empty if the clone can be planned.
pub(crate) fn all(request: &CloneRequest, source: &Source) -> Vec<Finding> {
    let mut faults = Faults(Vec::new());
    faults.machine(request, source);
    faults.request(request);
    for disk in &source.disks {
        faults.disk(request, disk);
    }
    faults.0
}

struct Faults(Vec<Finding>);

impl Faults {
    fn add(&mut self, code: &'static str, place: impl ToString, message: impl Into<String>) {
        self.0.push(Finding::failure(code, place, message));
    }

    fn machine(&mut self, request: &CloneRequest, source: &Source) {
        let (id, Some(machine)) = (&source.id, source.machine()) else {
            return self.add("machine-unreadable", &source.id, "it is not a virtual machine");
        };
        if source.vm_id().is_empty() {
            self.add("machine-unreadable", id, "the service reports no vmId");
        }
        match machine.power_state() {
            _ if request.stop || request.live => {}
            PowerState::Deallocated if request.as_image => {}
            _ if request.as_image => {
                self.add(
                    "machine-not-deallocated",
                    id,
                    "an image is created from a deallocated machine only: deallocate it",
                );
            }
            PowerState::Stopped | PowerState::Deallocated => {}
            PowerState::Running | PowerState::Changing => {
                self.add(
                    "machine-running",
                    id,
                    "it runs: stop it, use --stop, which starts it again, or --live, which does not stop it",
                );
            }
            PowerState::Unknown => self.add("machine-running", id, "the service does not report whether it runs"),
        }
        if machine.security_type().is_some_and(|kind| kind.eq_ignore_ascii_case("ConfidentialVM")) {
            self.add("confidential", id, "confidential machines are not cloned: their keys stay with the machine");
        }
        if request.as_image {
            self.image(source);
        }
        for disk in machine.disks() {
            let name = disk.other.get("name").and_then(Value::as_str).unwrap_or("a disk");
            let place = disk.disk_id().unwrap_or(name);
            if disk.other.get("diffDiskSettings").is_some_and(|settings| !settings.is_null()) {
                self.add("ephemeral-disk", place, "an ephemeral OS disk has no snapshots");
            } else if disk.disk_id().is_none() {
                self.add("unmanaged", place, "the disk is a blob: convert the machine to managed disks first");
            } else if disk.other.pointer_flag("encryptionSettings") {
                self.add("ade-encrypted", place, ADE);
            } else if !source.disks.iter().any(|found| found.id.to_string().eq_ignore_ascii_case(place)) {
                self.add("disk-not-found", place, "the machine names the disk, and it does not exist");
            }
        }
        if machine.storage_profile.as_ref().is_none_or(|profile| profile.os_disk.is_none()) {
            self.add("unmanaged", id, "the machine has no OS disk");
        }
        self.trusted_launch(source);
        self.plan(source);
        if body::carried_tags(&source.body.tags).len() + OWN_TAGS > MAX_TAGS {
            self.add("too-many-tags", id, format!("its tags leave no room for {OWN_TAGS} more"));
        }
    }

    /// What an image needs besides what a clone needs.
    fn image(&mut self, source: &Source) {
        let Some(machine) = source.machine() else { return };
        if !machine.is_generalized() {
            let message = "it is not generalised: run waagent -deprovision or Sysprep inside, deallocate it, and mark it with \
                           'az vm generalize'";
            self.add("machine-not-generalized", &source.id, message);
        }
        if machine.security_type().is_some_and(|kind| !kind.eq_ignore_ascii_case("Standard")) {
            self.add("image-security-type", &source.id, "a managed image has no security type such as Trusted Launch");
        }
    }

    /// Trusted Launch needs a disk of generation 2.
    fn trusted_launch(&mut self, source: &Source) {
        let needs_v2 = source.machine().and_then(|machine| machine.security_type()) == Some("TrustedLaunch");
        let Some(disk) = source.os_disk() else { return };
        let generation = disk.properties().and_then(|disk| disk.hyper_v_generation);
        if needs_v2 && generation == Some(Generation::V1) {
            self.add("hyperv-mismatch", &disk.id, "the machine has Trusted Launch, and its OS disk has generation V1");
        }
    }

    fn plan(&mut self, source: &Source) {
        let Some(plan) = body::plan_of(source) else { return };
        let is_complete =
            ["name", "publisher", "product"].iter().all(|part| plan.get(*part).is_some_and(Value::is_string));
        if !is_complete {
            self.add("plan-missing", &source.id, "its purchase plan has no name, publisher or product");
        }
    }

    fn request(&mut self, request: &CloneRequest) {
        let CloneRequest { to, source, .. } = request;
        let is_here = |id: &str| id.to_ascii_lowercase().starts_with(&format!("/subscriptions/{}/", to.subscription));
        if let Some(subnet) = &request.subnet {
            let is_subnet = is_id_of(subnet, "microsoft.network/virtualnetworks", "subnets");
            if !is_subnet {
                self.add("name-invalid", subnet, "it is not the id of a subnet");
            } else if !is_here(subnet) {
                self.add("subnet-elsewhere", subnet, "the subnet must be in the subscription and region of the clone");
            }
        }
        if let Some(set) = &request.availability_set {
            let group = format!("/resourcegroups/{}/", to.resource_group).to_ascii_lowercase();
            if !is_id_of(set, "microsoft.compute/availabilitysets", "") {
                self.add("name-invalid", set, "it is not the id of an availability set");
            } else if !is_here(set) || !set.to_ascii_lowercase().contains(&group) {
                self.add("availability-set-elsewhere", set, "it must be in the resource group of the clone");
            }
        }
        if request.disk_encryption_set.as_deref().is_some_and(|set| !is_here(set)) {
            let set = request.disk_encryption_set.as_deref().unwrap_or_default();
            self.add(
                "des-elsewhere",
                set,
                "the disk encryption set must be in the subscription and region of the clone",
            );
        }
        if request.zone.is_some() && request.availability_set.is_some() {
            self.add("name-invalid", source, "a machine has a zone or an availability set, not both");
        }
    }

    fn disk(&mut self, request: &CloneRequest, disk: &SourceDisk) {
        let id = &disk.id;
        if disk.properties().is_none_or(|disk| disk.unique_id.is_none()) {
            return self.add("disk-not-found", id, "the service reports no unique id of the disk");
        }
        let collection = disk.other("encryptionSettingsCollection");
        if collection.and_then(|settings| settings.get("enabled")) == Some(&Value::Bool(true)) {
            self.add("ade-encrypted", id, ADE);
        }
        let security = disk.other("securityProfile").and_then(|profile| profile.get("securityType"));
        if security.and_then(Value::as_str).is_some_and(|kind| kind.starts_with("ConfidentialVM")) {
            self.add("confidential", id, "the disk belongs to a confidential machine");
        }
        if disk.other("maxShares").and_then(Value::as_u64).is_some_and(|shares| shares > 1) {
            self.add("shared-disk", id, "other machines can write to a shared disk");
        }
        let data = disk.properties().map(|disk| &disk.creation_data.other);
        let sector = data.and_then(|data| data.get("logicalSectorSize")).and_then(Value::as_u64);
        if sector == Some(4096) {
            self.add("sector-4096", id, "a disk with sectors of 4,096 bytes can only be copied to disks of its type");
        }
        let percent = disk.other("completionPercent").and_then(Value::as_f64);
        if percent.is_some_and(|percent| percent < 100.0) {
            self.add("not-hydrated", id, "the content of the disk has not arrived yet: try again later");
        }
        self.encryption_set(request, disk);
        let sku = request.disk_sku.as_deref().or(disk.sku());
        let is_data_only = sku.is_some_and(|sku| DATA_ONLY.contains(&sku));
        if is_data_only && request.as_image {
            self.add(
                "disk-sku-invalid",
                id,
                "a disk of an image cannot have this performance tier: choose another one",
            );
        } else if is_data_only && disk.attachment.lun.is_none() {
            self.add("disk-sku-invalid", id, "an OS disk cannot have this performance tier");
        }
        if body::carried_tags(&disk.body.tags).len() + OWN_TAGS > MAX_TAGS {
            self.add("too-many-tags", id, format!("its tags leave no room for {OWN_TAGS} more"));
        }
    }

    /// A disk encryption set serves the disks of its subscription and region.
    fn encryption_set(&mut self, request: &CloneRequest, disk: &SourceDisk) {
        let (Some(set), None) = (disk.encryption_set(), &request.disk_encryption_set) else { return };
        if disk.body.region != request.to.region || disk.id.subscription != request.to.subscription {
            let message = format!("{set} cannot be used in another subscription or region: name one there with --des");
            self.add("des-elsewhere", &disk.id, message);
        }
    }
}

const ADE: &str = "Azure Disk Encryption encrypts the disk: its keys stay in the key vault of the source";

/// Whether a text is the id of a resource of a type, or of a part of one.
fn is_id_of(id: &str, resource_type: &str, part: &str) -> bool {
    let id = id.to_ascii_lowercase();
    let Some((scope, rest)) = id.split_once("/providers/") else { return false };
    let segments: Vec<&str> = rest.split('/').collect();
    let Some((namespace, kind)) = resource_type.split_once('/') else { return false };
    let is_named = segments.iter().all(|segment| !segment.is_empty());
    let is_scope = scope.starts_with("/subscriptions/") && scope.contains("/resourcegroups/");
    let expected: &[&str] = if part.is_empty() { &[namespace, kind] } else { &[namespace, kind, part] };
    let words: Vec<&str> =
        segments.first().copied().into_iter().chain(segments.iter().skip(1).step_by(2).copied()).collect();
    is_scope && is_named && words == expected && segments.len() == expected.len() * 2 - 1
}

/// Flags in properties that the model does not name.
trait Flag {
    fn pointer_flag(&self, name: &str) -> bool;
}

impl Flag for serde_json::Map<String, Value> {
    fn pointer_flag(&self, name: &str) -> bool {
        self.get(name).and_then(|settings| settings.get("enabled")) == Some(&Value::Bool(true))
    }
}
