//! The plan: what is copied to where.

use std::collections::{BTreeMap, BTreeSet};

use goldfleet_galleries::graph::PlannedGallery;
use goldfleet_model::artifact::DiskRole;
use goldfleet_model::ids::{JobId, ManagedImageName, Region};
use goldfleet_model::image::{ImageRef, StorageType};
use goldfleet_model::job::Finding;
use goldfleet_model::manifest::{Generation, OsType};
use goldfleet_model::operation::GroupId;
use goldfleet_model::resource::{ResourceId, VersionRef};
use goldfleet_model::sink::Sink;
use goldfleet_model::target::Target;
use goldfleet_snapshots::id::GroupRef;
use uuid::Uuid;

use crate::refusals;
use crate::source::{Content, Source};

/// The image version that the copies become.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// The image, the version, and the digest that stands for the content.
    pub image: ImageRef,
    /// The operating system.
    pub os: OsType,
    /// The Hyper-V generation.
    pub generation: Generation,
}

/// Where the snapshot of a region is created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubPlace {
    /// The subscription and resource group.
    pub group: GroupRef,
    /// The id of the disk encryption set of the snapshot.
    pub encryption_set: Option<String>,
}

/// A target, and what it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedTarget {
    /// The target.
    pub target: Target,
    /// The name of its managed image. Its snapshot and disk have the same name, as far as the service permits it.
    pub name: ManagedImageName,
    /// The group of its operations.
    pub group: GroupId,
    /// Whether it has all that it should receive.
    pub is_done: bool,
}

/// What a plan is made for.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// The fleet.
    pub fleet: Uuid,
    /// The job.
    pub job: JobId,
    /// The OS disk.
    pub source: Source,
    /// The data disks, in the order of their LUNs.
    pub data: Vec<Source>,
    /// The managed image that has the disks, if one does.
    pub image: Option<SourceImage>,
    /// Where the temporaries in the region of the source are created, if the source determines that.
    pub scratch: Option<GroupRef>,
    /// The version that it becomes.
    pub version: Version,
    /// The hub of each region that has a target.
    pub hubs: BTreeMap<Region, HubPlace>,
    /// The targets.
    pub targets: Vec<PlannedTarget>,
    /// The galleries.
    pub galleries: Vec<PlannedGallery>,
    /// Further tags of what targets receive.
    pub tags: BTreeMap<String, String>,
    /// The storage type of images and disks.
    pub storage: StorageType,
}

/// A managed image whose disks are copied by way of a temporary gallery version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceImage {
    /// The image.
    pub id: ResourceId,
    /// Its [fingerprint](goldfleet_model::resource::ImageProperties::fingerprint).
    pub fingerprint: String,
    /// The disk encryption sets of its disks.
    pub encryption_sets: BTreeMap<DiskRole, String>,
}

impl Delivery {
    /// The disks: the OS disk first, then the data disks.
    pub fn disks(&self) -> impl Iterator<Item = &Source> {
        std::iter::once(&self.source).chain(&self.data)
    }

    /// The number of bytes of all disks. None if the service does not report that of one.
    #[must_use]
    pub fn size(&self) -> Option<u64> {
        self.disks().map(Source::size).sum()
    }

    /// The reasons for which nothing can be copied. Empty if the graph can be run.
    #[must_use]
    pub fn refusals(&self) -> Vec<Finding> {
        refusals::all(self)
    }

    /// What the copies do not have that the source has.
    #[must_use]
    pub fn notes(&self) -> Vec<Finding> {
        let has_image = self.to_do().any(|planned| planned.target.sinks.has(Sink::Image));
        let security = self.source.security_type().filter(|_| has_image);
        let lost = |kind| {
            let message = format!(
                "the source has the security type {kind}, and a managed image has none: machines that are created from \
                 the images have standard security; snapshots and disks keep the security type"
            );
            Finding::note("trusted-launch-lost", message)
        };
        let is_shared = matches!(self.source.content, Content::Version(VersionRef::Shared(_)));
        let unknown = is_shared.then(|| {
            let message =
                "the service does not state the data disks of a version that others share: only its OS disk is copied";
            Finding::note("data-disks-unknown", message)
        });
        security.map(lost).into_iter().chain(unknown).collect()
    }

    /// The targets that receive something.
    pub fn to_do(&self) -> impl Iterator<Item = &PlannedTarget> {
        self.targets.iter().filter(|planned| !planned.is_done)
    }

    /// The galleries that receive something.
    pub fn galleries_to_do(&self) -> impl Iterator<Item = &PlannedGallery> {
        self.galleries.iter().filter(|planned| !planned.is_done)
    }

    /// The regions of these targets and galleries.
    #[must_use]
    pub fn regions(&self) -> BTreeSet<&Region> {
        let of_galleries = self.galleries_to_do().map(|planned| &planned.settings.region);
        self.to_do().map(|planned| &planned.target.region).chain(of_galleries).collect()
    }

    /// The regions to which the platform copies a snapshot: all but that of the source.
    pub fn remote_regions(&self) -> impl Iterator<Item = &Region> + '_ {
        self.regions().into_iter().filter(|region| *region != self.source.region())
    }

    /// Where the temporaries in the region of the source are created. An incremental snapshot must be in the
    /// subscription of its disk, so for a disk that is a hub there, or else the resource group of the disk.
    #[must_use]
    pub fn scratch(&self, disk: &Source) -> GroupRef {
        if let Some(scratch) = &self.scratch {
            return scratch.clone();
        }
        let source = &disk.id;
        let of_source = || GroupRef::from(source);
        let hubs = || self.hubs.values().map(|hub| &hub.group);
        let in_subscription = hubs().find(|group| group.subscription == source.subscription);
        let in_region = self.hubs.get(self.source.region()).map(|hub| &hub.group);
        let found = match (in_subscription, in_region) {
            (Some(group), _) => Some(group),
            _ if disk.is_disk() => None,
            (None, Some(group)) => Some(group),
            (None, None) => hubs().next(),
        };
        found.cloned().unwrap_or_else(of_source)
    }

    /// Whether a disk needs temporaries in its region.
    #[must_use]
    pub fn needs_scratch(&self, disk: &Source) -> bool {
        let has_work = self.to_do().next().is_some() || self.galleries_to_do().next().is_some();
        has_work && (disk.is_disk() || (!disk.is_incremental() && self.remote_regions().next().is_some()))
    }
}
