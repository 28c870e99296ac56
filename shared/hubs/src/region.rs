//! The region route: an uploaded version reaches each region as one disk, of which a golden snapshot is created. All targets of
//! the region copy the snapshot.

use std::collections::{BTreeMap, BTreeSet};

use goldfleet_model::artifact::{ArtifactDisk, DiskRole};
use goldfleet_model::ids::{JobId, Region};
use goldfleet_model::job::Finding;
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
}

impl RegionDelivery {
    /// The reasons for which the version cannot be delivered. Empty if the graph can be run.
    #[must_use]
    pub fn refusals(&self) -> Vec<Finding> {
        let targets: Vec<&Target> = self.to_do().map(|planned| &planned.target).collect();
        let mut found = refusals(&targets, &self.hubs);
        for ArtifactDisk { disk, size, .. } in &self.disks {
            if !UPLOAD_SIZE.contains(size) {
                let (least, most) = (UPLOAD_SIZE.start(), UPLOAD_SIZE.end());
                let message = format!("it has {size} bytes, and a disk for direct upload has {least} to {most}");
                found.push(Finding::failure("upload-size-invalid", format!("disk {}", disk.role), message));
            }
        }
        let data: Vec<String> = self
            .disks
            .iter()
            .map(|disk| disk.disk.role)
            .filter(|role| *role != DiskRole::Os)
            .map(|role| role.to_string())
            .collect();
        if !data.is_empty() {
            let message = format!(
                "it has the data disks {}, and images of this route have an OS disk only: use --route staging",
                data.join(", ")
            );
            found.push(Finding::failure("data-disks", &self.version.image, message));
        }
        found
    }

    /// The targets that receive something.
    pub fn to_do(&self) -> impl Iterator<Item = &PlannedTarget> {
        self.targets.iter().filter(|planned| !planned.is_done)
    }

    /// The regions of these targets, with their hubs. A region without targets receives nothing.
    pub fn regions(&self) -> impl Iterator<Item = (&Region, &HubPlace)> {
        let regions: BTreeSet<&Region> = self.to_do().map(|planned| &planned.target.region).collect();
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
pub fn refusals(targets: &[&Target], hubs: &BTreeMap<Region, HubPlace>) -> Vec<Finding> {
    let mut found = Vec::new();
    let regions: BTreeSet<&Region> = targets.iter().map(|target| &target.region).collect();
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
    found
}
