//! The source of a dispatch: its disks, as the service returns them.

use std::collections::BTreeMap;

use goldfleet_hubs::plan::{HubPlace, SourceImage};
use goldfleet_hubs::source::{Content, Source, VersionDisk};
use goldfleet_model::artifact::DiskRole;
use goldfleet_model::ids::Region;
use goldfleet_model::manifest::{Generation, OsType};
use goldfleet_model::resource::{ResourceId, ResourceType, VersionRef};
use goldfleet_snapshots::graph::RequiresStopped;
use goldfleet_snapshots::id::GroupRef;
use goldfleet_sources::cloud_disk::DiskFacts;
use goldfleet_sources::{Refusal, SourceLocation, VersionFacts, codes};

use super::{PlatformSpec, SourceRef};
use crate::control::context::{ControlContext, ControlError};
use crate::control::machine_disks::StoppedMachine;
use crate::control::versions::{VersionSource, find};

/// A source that was read and checked.
pub(super) struct FoundSource {
    /// What a job remembers of it.
    pub(super) spec: PlatformSpec,
    /// The number of bytes, if it is known.
    pub(super) size: Option<u64>,
    system: System,
    kind: Kind,
}

/// The resource that states the operating system and the generation.
enum System {
    Disk(Box<DiskFacts>),
    Version,
}

enum Kind {
    /// A disk or snapshot, or the disks of a machine: the OS disk first.
    Disks(Vec<Source>),
    Version(VersionSource, Box<VersionFacts>),
}

/// A source with the places of its temporaries.
#[derive(Debug)]
pub(super) struct PlacedSource {
    /// The OS disk.
    pub(super) os_disk: Source,
    /// The data disks.
    pub(super) data: Vec<Source>,
    /// The managed image that has them.
    pub(super) image: Option<SourceImage>,
    /// Where the temporaries are created, if the source determines that.
    pub(super) scratch: Option<GroupRef>,
}

/// Reads a source and the properties that a copy needs.
///
/// # Errors
/// [`ControlError::Source`] if it or its group does not exist, or if a copy of it is no image.
pub(super) async fn read(control: &ControlContext, location: &SourceLocation) -> Result<FoundSource, ControlError> {
    match location {
        SourceLocation::Disk(id) | SourceLocation::Snapshot(id) => read_disk(control, id, &location.to_string()).await,
        SourceLocation::Machine(id) => read_machine(control, id, &location.to_string()).await,
        SourceLocation::Image(_) | SourceLocation::Gallery(_) => read_version(control, location).await,
        SourceLocation::Blob(_) => {
            let reason = "the platform copies no blobs: use 'goldfleet upload --from' for a blob";
            Err(Refusal::new(&codes::NAME_INVALID, location.to_string(), reason).into())
        }
    }
}

fn unidentified(location: &str) -> Refusal {
    Refusal::new(&codes::NOT_HYDRATED, location, "the service reports no unique id")
}

async fn read_disk(control: &ControlContext, id: &ResourceId, location: &str) -> Result<FoundSource, ControlError> {
    let missing =
        || Refusal::new(&codes::SOURCE_NOT_FOUND, location, format!("there is no {}", id.resource_type.noun()));
    let found = find(&control.ports, id).await?.ok_or_else(missing)?;
    let facts = DiskFacts::for_copy(location, &found)?;
    let source = Source::of(found.id.clone(), found.body).ok_or_else(|| unidentified(location))?;
    let spec =
        PlatformSpec { source: SourceRef::Resource(found.id), unique_id: source.unique_id.clone(), disks: Vec::new() };
    Ok(FoundSource { spec, size: facts.size, system: System::Disk(Box::new(facts)), kind: Kind::Disks(vec![source]) })
}

async fn read_machine(control: &ControlContext, id: &ResourceId, location: &str) -> Result<FoundSource, ControlError> {
    let machine = StoppedMachine::read(control, id, location).await?;
    let found = machine.read_disks(control, location, DiskFacts::for_copy).await?;
    let stopped = RequiresStopped { machine: id.to_string(), vm_id: machine.vm_id.clone(), downtime: None };
    let size = found.iter().map(|(_, facts)| facts.size).sum();
    let (mut disks, mut ids, mut os_disk) = (Vec::new(), Vec::new(), None);
    for (disk, facts) in found {
        ids.push(disk.found.id.clone());
        let source = Source::of_machine(disk.found.id, disk.found.body, disk.role, stopped.clone());
        disks.push(source.ok_or_else(|| unidentified(&disk.location))?);
        os_disk.get_or_insert(facts);
    }
    let os_disk = os_disk.ok_or_else(|| Refusal::new(&codes::UNMANAGED, location, "it has no OS disk"))?;
    let spec = PlatformSpec { source: SourceRef::Resource(id.clone()), unique_id: machine.vm_id, disks: ids };
    Ok(FoundSource { spec, size, system: System::Disk(Box::new(os_disk)), kind: Kind::Disks(disks) })
}

async fn read_version(control: &ControlContext, location: &SourceLocation) -> Result<FoundSource, ControlError> {
    let text = location.to_string();
    let Some(source) = VersionSource::of(location) else {
        return Err(Refusal::new(&codes::NAME_INVALID, text, "it is no image and no gallery version").into());
    };
    let facts = source.read(control, &text).await?;
    let named = match &source {
        VersionSource::Image(id) | VersionSource::Version(VersionRef::Own(id)) => SourceRef::Resource(id.clone()),
        VersionSource::Version(VersionRef::Shared(shared)) => SourceRef::Shared(shared.clone()),
    };
    // It becomes the value of a tag, so it must be short.
    let identity = facts.identity.clone().unwrap_or_else(|| text.clone());
    let unique_id = format!("version-{}", &blake3::hash(identity.as_bytes()).to_hex()[..40]);
    let spec = PlatformSpec { source: named, unique_id, disks: Vec::new() };
    Ok(FoundSource { spec, size: None, system: System::Version, kind: Kind::Version(source, Box::new(facts)) })
}

impl FoundSource {
    /// The operating system and the generation, from the source and from the options of a command.
    ///
    /// # Errors
    /// If an option contradicts the source, or if neither states it.
    pub(super) fn system(
        &self,
        os: Option<OsType>,
        generation: Option<Generation>,
    ) -> Result<(OsType, Generation), Refusal> {
        let (os, generation) = match (&self.system, &self.kind) {
            (System::Disk(facts), _) => facts.system(os, generation)?,
            (System::Version, Kind::Version(VersionSource::Image(_), facts)) => {
                let (os, generation) = facts.system(os, generation)?;
                // Images that state no generation are of generation 1.
                (os, generation.or(Some(Generation::V1)))
            }
            (System::Version, Kind::Version(_, facts)) => facts.system(os, generation)?,
            (System::Version, Kind::Disks(_)) => (OsType::Linux, None),
        };
        let location = self.spec.location().to_string();
        let unknown = || Refusal::new(&codes::GENERATION_UNKNOWN, location, "it states no Hyper-V generation");
        Ok((os, generation.ok_or_else(unknown)?))
    }

    /// The source with the places of its temporaries. `preferred` are regions, the best one first.
    ///
    /// # Errors
    /// [`codes::VERSION_ELSEWHERE`] if there is no place for the temporary disks of a gallery version.
    pub(super) fn place(
        self,
        hubs: &BTreeMap<Region, HubPlace>,
        preferred: &[&Region],
    ) -> Result<PlacedSource, Refusal> {
        let unique_id = self.spec.unique_id.clone();
        let location = self.spec.location().to_string();
        let (source, facts) = match self.kind {
            Kind::Disks(disks) => {
                return split(disks, &location).map(|(os_disk, data)| PlacedSource {
                    os_disk,
                    data,
                    image: None,
                    scratch: None,
                });
            }
            Kind::Version(source, facts) => (source, facts),
        };
        let place = source.place(&facts, hubs, preferred)?;
        let (content, id, image) = match &source {
            VersionSource::Image(id) => {
                let sets = facts.disks.iter().filter_map(|disk| Some((disk.role, disk.encryption_set.clone()?)));
                let fingerprint = facts.identity.clone().unwrap_or_default();
                let image = SourceImage { id: id.clone(), fingerprint, encryption_sets: sets.collect() };
                (Content::Image, id.clone(), Some(image))
            }
            VersionSource::Version(version) => {
                let id = match version {
                    VersionRef::Own(id) => id.clone(),
                    // It has no id of its own.
                    VersionRef::Shared(_) => placeholder_id(&place.group, &unique_id)?,
                };
                (Content::Version(version.clone()), id, None)
            }
        };
        let disks = facts.disks.iter().map(|disk| {
            let known = VersionDisk {
                id: id.clone(),
                identity: &unique_id,
                role: disk.role,
                region: &place.region,
                encryption_set: disk.encryption_set.as_deref(),
                security_type: facts.security_type.as_deref(),
                purchase_plan: facts.purchase_plan.as_ref(),
            };
            Source::of_version(&known, content.clone())
        });
        let (os_disk, data) = split(disks.collect(), &location)?;
        Ok(PlacedSource { os_disk, data, image, scratch: Some(place.group) })
    }
}

fn split(disks: Vec<Source>, location: &str) -> Result<(Source, Vec<Source>), Refusal> {
    let mut disks = disks.into_iter();
    let os_disk = disks.next().filter(|disk| disk.role == DiskRole::Os);
    let os_disk = os_disk.ok_or_else(|| Refusal::new(&codes::UNMANAGED, location, "it has no OS disk"))?;
    Ok((os_disk, disks.collect()))
}

/// An id for a version that has none, in the place of its temporaries.
fn placeholder_id(group: &GroupRef, name: &str) -> Result<ResourceId, Refusal> {
    let invalid = |error| Refusal::new(&codes::NAME_INVALID, name, format!("{error}"));
    let name = name.parse().map_err(invalid)?;
    let (subscription, resource_group) = (group.subscription, group.resource_group.clone());
    Ok(ResourceId { subscription, resource_group, resource_type: ResourceType::Disk, name })
}
