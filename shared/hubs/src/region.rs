//! The region route: each disk of an uploaded version reaches each region once, and a golden snapshot is created of it.
//! All targets and galleries of the region copy the snapshots.

use std::collections::{BTreeMap, BTreeSet};

use goldfleet_galleries::graph::PlannedGallery;
use goldfleet_galleries::settings::Gallery;
use goldfleet_model::artifact::ArtifactDisk;
use goldfleet_model::ids::{JobId, Region};
use goldfleet_model::job::Finding;
use goldfleet_model::operation::GroupId;
use goldfleet_model::resource::{ResourceId, ResourceType};
use goldfleet_model::target::Target;
use goldfleet_snapshots::names;
use uuid::Uuid;

use crate::plan::{HubPlace, PlannedTarget, Version};
use crate::refusals::{Place, hub_missing, in_other_tenant, set_elsewhere};
use crate::rows::resource_id;

/// The limits of the size of a disk for direct upload, without the footer of the VHD. Source: Microsoft.Compute, DiskRP
/// 2025-01-02, `CreationData.uploadSizeBytes`: 20 MiB and 32 TiB, each with 512 bytes for the footer.
const UPLOAD_SIZE: std::ops::RangeInclusive<u64> = 20 << 20..=32 << 40;

/// The largest size of a disk of a gallery version with full replication, in bytes. Source: Azure,
/// shared-image-galleries: 2 TB.
const MAX_REPLICATED: u64 = 2 << 40;

/// What a plan of the region route is made for.
#[derive(Debug, Clone)]
pub struct RegionDelivery {
    /// The fleet.
    pub fleet: Uuid,
    /// The job.
    pub job: JobId,
    /// The version.
    pub version: Version,
    /// Its disks.
    pub disks: Vec<ArtifactDisk>,
    /// The configured hubs.
    pub hubs: BTreeMap<Region, HubPlace>,
    /// The targets.
    pub targets: Vec<PlannedTarget>,
    /// The galleries.
    pub galleries: Vec<PlannedGallery>,
}

/// The largest number of disks of a version. A target has a copy and a removal for each disk, besides its image, and a
/// gallery one more, in a group of at most [`GroupId::MAX_ROWS`] operations.
const MAX_DISKS: usize = (GroupId::MAX_ROWS - 2) / 2;

impl RegionDelivery {
    /// The reasons for which the version cannot be delivered. Empty if the graph can be run.
    #[must_use]
    pub fn refusals(&self) -> Vec<Finding> {
        let targets: Vec<&Target> = self.to_do().map(|planned| &planned.target).collect();
        let galleries: Vec<&Gallery> = self.galleries_to_do().map(|planned| &planned.settings).collect();
        let mut found = refusals(&targets, &galleries, &self.hubs);
        for ArtifactDisk { disk, size, .. } in &self.disks {
            if !UPLOAD_SIZE.contains(size) {
                let (least, most) = (UPLOAD_SIZE.start(), UPLOAD_SIZE.end());
                let message = format!("it has {size} bytes, and a disk for direct upload has {least} to {most}");
                found.push(Finding::failure("upload-size-invalid", format!("disk {}", disk.role), message));
            }
        }
        for planned in self.galleries_to_do() {
            let large = self.disks.iter().filter(|disk| disk.size > MAX_REPLICATED);
            found.extend(large.map(|disk| {
                let place = format!("gallery {}", planned.settings.name);
                let message = format!(
                    "disk {} has {} bytes, and a version that is replicated has at most {MAX_REPLICATED}",
                    disk.disk.role, disk.size
                );
                Finding::failure("gallery-disk-too-large", place, message)
            }));
        }
        if self.disks.len() > MAX_DISKS {
            let message = format!(
                "it has {} disks, and this route delivers at most {MAX_DISKS}: use --route staging",
                self.disks.len()
            );
            found.push(Finding::failure("data-disks", &self.version.image, message));
        }
        found
    }

    /// The targets that receive something.
    pub fn to_do(&self) -> impl Iterator<Item = &PlannedTarget> {
        self.targets.iter().filter(|planned| !planned.is_done)
    }

    /// The galleries that receive something.
    pub fn galleries_to_do(&self) -> impl Iterator<Item = &PlannedGallery> {
        self.galleries.iter().filter(|planned| !planned.is_done)
    }

    /// The regions of these targets and galleries, with their hubs. Another region receives nothing.
    pub fn regions(&self) -> impl Iterator<Item = (&Region, &HubPlace)> {
        let of_galleries = self.galleries_to_do().map(|planned| &planned.settings.region);
        let regions: BTreeSet<&Region> =
            self.to_do().map(|planned| &planned.target.region).chain(of_galleries).collect();
        regions.into_iter().filter_map(|region| Some((region, self.hubs.get(region)?)))
    }

    /// The golden snapshot of a disk in a region.
    #[must_use]
    pub fn golden(&self, region: &Region, hub: &HubPlace, disk: &ArtifactDisk) -> ResourceId {
        golden_id(self.fleet, &self.version, region, hub, disk)
    }

    /// The disk from which the golden snapshot is created. Each job has its own.
    #[must_use]
    pub(crate) fn hub_disk(&self, region: &Region, hub: &HubPlace, disk: &ArtifactDisk) -> ResourceId {
        let (source, part) = (disk.disk.manifest.to_string(), format!("hub-{}", disk.disk.role));
        let name = names::of_temporary(self.fleet, &self.job, &source, &hub.group, region, &part);
        resource_id(&hub.group, ResourceType::Disk, &name)
    }
}

/// The golden snapshot of a disk of a version in a region. All jobs of the version share it.
#[must_use]
pub fn golden_id(fleet: Uuid, version: &Version, region: &Region, hub: &HubPlace, disk: &ArtifactDisk) -> ResourceId {
    let image = &version.image;
    let (digest, role) = (image.digest.to_string(), disk.disk.role.to_string());
    let parts = [image.name.as_str(), image.version.as_str(), &digest, &role];
    let name = names::of_golden(fleet, &parts, &hub.group, region);
    resource_id(&hub.group, ResourceType::Snapshot, &name)
}

/// What the files of the configuration alone refuse.
#[must_use]
pub fn refusals(targets: &[&Target], galleries: &[&Gallery], hubs: &BTreeMap<Region, HubPlace>) -> Vec<Finding> {
    let mut found = Vec::new();
    let of_galleries = galleries.iter().map(|gallery| &gallery.region);
    let regions: BTreeSet<&Region> = targets.iter().map(|target| &target.region).chain(of_galleries).collect();
    for region in regions {
        match hubs.get(region) {
            None => found.push(hub_missing(region, "the route region creates its golden snapshot there")),
            Some(hub) => found.extend(set_elsewhere(&Place::of_hub(region, hub))),
        }
    }
    for target in targets {
        found.extend(in_other_tenant(target));
        found.extend(set_elsewhere(&Place::of_target(target)));
    }
    for gallery in galleries {
        let regions = gallery.all_regions();
        found.extend(regions.iter().filter_map(|region| set_elsewhere(&Place::of_gallery(gallery, region))));
    }
    found
}
