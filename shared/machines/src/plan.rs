//! The plan of a clone.

use goldfleet_model::ids::JobId;
use goldfleet_model::job::Finding;
use goldfleet_model::resource::{ResourceId, ResourceType};
use goldfleet_snapshots::id::GroupRef;
use uuid::Uuid;

use crate::names;
use crate::refusals;
use crate::request::CloneRequest;
use crate::source::{Source, SourceDisk};

/// Who clones.
#[derive(Debug, Clone)]
pub struct Cloner {
    /// The fleet.
    pub fleet: Uuid,
    /// The job.
    pub job: JobId,
}

/// A plan without faults.
#[derive(Debug, Clone, PartialEq)]
pub struct ClonePlan<'a> {
    /// The request.
    pub request: &'a CloneRequest,
    /// The machine to clone.
    pub source: &'a Source,
    /// The clone. None if only the disks are cloned, or if an image is created.
    pub machine: Option<ResourceId>,
    /// The image, if one is created.
    pub image: Option<ResourceId>,
    /// The disks of the clone, in the order of the source.
    pub disks: Vec<PlannedDisk<'a>>,
    /// The zone of the clone and its disks.
    pub zone: Option<String>,
}

/// A disk of the clone.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedDisk<'a> {
    /// The source.
    pub source: &'a SourceDisk,
    /// The disk of the clone. None if an image is created: it has the content itself.
    pub id: Option<ResourceId>,
}

impl<'a> ClonePlan<'a> {
    /// Plans a clone.
    ///
    /// # Errors
    /// All reasons for which it is refused.
    pub fn new(request: &'a CloneRequest, source: &'a Source) -> Result<Self, Vec<Finding>> {
        let mut faults = refusals::all(request, source);
        let named = |resource_type, name| Some(id(request, resource_type, name));
        let invalid = |names::InvalidName(message)| Finding::failure("name-invalid", request.clone_name(), message);
        let (machine, image) = match (request.as_image, request.disks_only) {
            (true, _) => (Ok(None), names::image(request.clone_name()).map(|name| named(ResourceType::Image, name))),
            (false, true) => (names::machine(request.clone_name()).map(|_| None), Ok(None)),
            (false, false) => {
                (names::machine(request.clone_name()).map(|name| named(ResourceType::Machine, name)), Ok(None))
            }
        };
        let mut or_fault = |named: Result<Option<ResourceId>, _>| {
            named.unwrap_or_else(|error| {
                faults.push(invalid(error));
                None
            })
        };
        let (machine, image) = (or_fault(machine), or_fault(image));
        let mut disks: Vec<PlannedDisk<'a>> = Vec::new();
        for disk in &source.disks {
            match names::disk(request.disk_template(), request.clone_name(), disk) {
                _ if request.as_image => disks.push(PlannedDisk { source: disk, id: None }),
                Ok(name) => disks.push(PlannedDisk { source: disk, id: named(ResourceType::Disk, name) }),
                Err(error) => faults.push(invalid(error)),
            }
        }
        let plan = Self { request, source, machine, image, disks, zone: zone(request, source) };
        faults.extend(plan.name_conflicts());
        if faults.is_empty() { Ok(plan) } else { Err(faults) }
    }

    /// Names that two resources of the clone would get, or that the source has.
    fn name_conflicts(&self) -> Vec<Finding> {
        let mut faults = Vec::new();
        for (index, disk) in self.disks.iter().enumerate() {
            let Some(id) = &disk.id else { continue };
            if self.disks[..index].iter().any(|before| before.id == disk.id) {
                let message = format!("two disks get the name {}: use {{disk}} or {{lun}} in --disk-name", id.name);
                faults.push(Finding::failure("name-invalid", &disk.source.id, message));
            }
        }
        let taken = std::iter::once(&self.source.id).chain(self.source.disks.iter().map(|disk| &disk.id));
        let is_own = |taken: &&ResourceId| {
            self.machine.as_ref() == Some(*taken) || self.disks.iter().any(|disk| disk.id.as_ref() == Some(*taken))
        };
        for taken in taken.filter(is_own) {
            let message = "the clone would get this name, and its source has it: use --name or --disk-name";
            faults.push(Finding::failure("name-invalid", taken, message));
        }
        faults
    }

    /// Whether an image needs another snapshot of each disk than the first one, because that is in another region or
    /// subscription than the image.
    #[must_use]
    pub fn is_elsewhere(&self) -> bool {
        self.is_remote() || self.source.id.subscription != self.request.to.subscription
    }

    /// Whether the content crosses to another region.
    #[must_use]
    pub fn is_remote(&self) -> bool {
        self.source.body.region != self.request.to.region
    }

    /// The group for the temporary snapshots in the region of the source. An incremental snapshot must be in the
    /// subscription of its disk. Within it, the group of the clone is used, so that the group of the source is not
    /// written.
    #[must_use]
    pub fn snapshot_group(&self) -> GroupRef {
        let (to, from) = (self.request.to.group(), &self.source.id);
        if to.subscription == from.subscription {
            return to;
        }
        GroupRef::from(from)
    }

    /// What is not copied, and what differs from the source. The command shows it before it asks, and the job keeps it.
    #[must_use]
    pub fn notes(&self) -> Vec<Finding> {
        let mut notes = Vec::new();
        let mut add = |code, message: &str| notes.push(Finding::note(code, message));
        if self.request.stop {
            add(
                "machine-stopped",
                "the source is deallocated while its disks are snapshotted, and started again if it ran",
            );
        }
        if self.request.live {
            add(
                "crash-consistent",
                "the disks are taken from a restore point of the source as it runs: their state is that after a power failure, and \
                 all are from one moment, except on some new sizes of machines",
            );
        }
        if let Some(seconds) = self.request.max_downtime {
            let message = format!(
                "{seconds} seconds after the source is deallocated, snapshots that have not begun are cancelled, the source is \
                 started, and the job fails"
            );
            add("max-downtime", &message);
        }
        if self.image.is_some() {
            add(
                "image-generalized",
                "the image is created from the disks as they are: the system on them must be generalised, and the machine is not \
                 started",
            );
        }
        if self.machine.is_some() {
            add(
                "clone-starts",
                "the clone starts at once, with the host name, accounts and services of the source: keep it apart from them",
            );
            add(
                "network-not-copied",
                "the clone has one new network interface with a private address; public and fixed addresses, further \
                 interfaces, network security groups and accelerated networking of the source are not copied",
            );
            add(
                "settings-not-copied",
                "extensions, identities, user data, diagnostics settings, locks, role assignments and backups are not copied",
            );
            self.bound_settings(&mut add);
        }
        if self.source.disks.iter().any(|disk| disk.other("networkAccessPolicy").is_some_and(|p| p == "AllowPrivate")) {
            add("export-denied", "the new disks deny export, because a disk access resource serves only its own disks");
        }
        notes
    }

    /// Settings of the source that belong to its place.
    fn bound_settings(&self, add: &mut impl FnMut(&'static str, &str)) {
        let Some(machine) = self.source.machine() else { return };
        let names = ["proximityPlacementGroup", "virtualMachineScaleSet", "host", "hostGroup", "capacityReservation"];
        let mut bound: Vec<&str> = names.into_iter().filter(|name| machine.other.contains_key(*name)).collect();
        if machine.availability_set.is_some() && self.request.availability_set.is_none() {
            bound.push("availabilitySet");
        }
        if self.source.body.other.contains_key("zones") && self.zone.is_none() {
            bound.push("zones");
        }
        if !bound.is_empty() {
            add(
                "placement-not-copied",
                &format!("of the placement of the source, these are not copied: {}", bound.join(", ")),
            );
        }
    }
}

fn id(request: &CloneRequest, resource_type: ResourceType, name: goldfleet_model::ids::ResourceName) -> ResourceId {
    let to = &request.to;
    ResourceId { subscription: to.subscription, resource_group: to.resource_group.clone(), resource_type, name }
}

/// The zone of the clone. Zones of different regions have nothing in common.
fn zone(request: &CloneRequest, source: &Source) -> Option<String> {
    if request.zone.is_some() || request.availability_set.is_some() || source.body.region != request.to.region {
        return request.zone.clone();
    }
    let zones = source.body.other.get("zones")?;
    zones.get(0)?.as_str().map(str::to_owned)
}
