//! Copies of snapshots from other regions: their bytes, their rules, and what happens if their source is deleted.

use std::ops::Range;

use goldfleet_model::resource::{CreateOption, Properties, ResourceId};
use goldfleet_ports::error::PortResult;
use goldfleet_ports::resources::emulation::{RegionalCopy, not_found, source_gone};
use goldfleet_ports::resources::{PutRequest, Resource};

use super::{CopySource, ModelledResource};
use crate::Model;
use crate::pipe::SimNanos;
use crate::state::CloudState;

impl Model {
    /// Writes bytes to a disk, as a machine does. The next snapshot of the disk differs from the previous one by the
    /// bytes that were written in between.
    ///
    /// # Errors
    /// `NotFound` if the disk does not exist.
    pub fn write_to_disk(&self, disk: &ResourceId, bytes: u64) -> PortResult<()> {
        let mut world = self.world();
        let found = world.arm.resources.get_mut(disk).ok_or_else(|| not_found(disk))?;
        found.written += bytes;
        Ok(())
    }
}

/// Whether the content of a resource arrives from a snapshot in another region.
pub(super) fn starts(resource: &Resource) -> bool {
    let data = resource.body.properties.disk().map(|disk| &disk.creation_data.create_option);
    data == Some(&CreateOption::CopyStart)
}

impl CloudState {
    /// The copies from other regions in the subscription and region of a request.
    pub(super) fn regional_copies(&self, now: SimNanos, request: &PutRequest) -> Vec<RegionalCopy> {
        let here = |found: &&ModelledResource| {
            let resource = &found.resource;
            resource.id.subscription == request.id.subscription && resource.body.region == request.body.region
        };
        let copies = self.arm.resources.values().filter(here).filter_map(|found| {
            let copy = RegionalCopy::of(request, &found.at(now), None)?;
            Some(RegionalCopy { order: found.order.clone(), ..copy })
        });
        copies.collect()
    }

    /// The time in which the content of a snapshot arrives from another region.
    pub(super) fn copy_between_regions(
        &mut self,
        now: SimNanos,
        source: &CopySource,
        copy: &Resource,
    ) -> Range<SimNanos> {
        let bytes = self.difference(source, copy);
        let (from, to) = (self.region(&source.region), self.region(&copy.body.region));
        let link = self.link(from, to);
        self.links[link].copied += bytes;
        now..self.links[link].pipe.take(now, bytes)
    }

    /// The bytes by which a copy differs from the newest copy of its family in its subscription and region: those that
    /// were written to the disk in between, at most the size of the disk. The first copy of a family has all bytes.
    fn difference(&self, source: &CopySource, copy: &Resource) -> u64 {
        let size = copy.body.properties.disk().and_then(|disk| disk.disk_size_bytes).unwrap_or_default();
        let family = |resource: &Resource| match &resource.body.properties {
            Properties::Snapshot(snapshot) if snapshot.copy_completion_error.is_none() => {
                snapshot.incremental_snapshot_family_id.clone()
            }
            _ => None,
        };
        let wanted = family(copy);
        let bases = self.arm.resources.values().filter(|found| wanted.is_some() && family(&found.resource) == wanted);
        let base = bases.map(|found| found.written).filter(|written| *written <= source.written).max();
        base.map_or(size, |base| size.min(source.written - base))
    }

    /// Removes a resource. Copies whose content is arriving from it fail.
    pub(super) fn remove_resource(&mut self, now: SimNanos, id: &ResourceId) {
        let removed = self.arm.resources.remove(id);
        if let Some(removed) = &removed {
            self.detach_disks_of(&removed.resource);
        }
        let disk = removed.as_ref().and_then(|removed| removed.resource.body.properties.disk());
        let Some(unique_id) = disk.and_then(|disk| disk.unique_id.clone()) else { return };
        self.arm.contents.remove(&unique_id);
        let underway = |found: &&mut ModelledResource| found.arrives.as_ref().is_some_and(|time| now < time.end);
        for found in self.arm.resources.values_mut().filter(underway) {
            let present = found.at(now);
            let Properties::Snapshot(snapshot) = &mut found.resource.body.properties else { continue };
            if snapshot.disk.creation_data.source_unique_id.as_ref() != Some(&unique_id) {
                continue;
            }
            if let Properties::Snapshot(arrived) = &present.body.properties {
                snapshot.completion_percent = arrived.completion_percent;
            }
            snapshot.copy_completion_error = Some(source_gone(id));
            found.arrives = None;
        }
    }
}
