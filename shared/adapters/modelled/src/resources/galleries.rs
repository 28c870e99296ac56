//! Galleries, image definitions and gallery versions of the model. With limits, the replication to a region takes the
//! time of the bytes on the link between the regions, and the time of `[gallery]` of the rates besides. The service
//! reports it as complete before the version can be used in the region.

use std::collections::BTreeMap;
use std::time::Duration;

use goldfleet_model::ids::Region;
use goldfleet_model::resource::{GalleryVersionProperties, Properties, ResourceId, ResourceType, VersionRef};
use goldfleet_ports::error::PortResult;
use goldfleet_ports::resources::emulation::galleries::{
    Replica, Replicas, check_empty, check_gallery, disk_of_version, is_shared_as, shared_id, stored_version,
};
use goldfleet_ports::resources::emulation::{NewIdentity, not_found};
use goldfleet_ports::resources::{PutRequest, Resource, ResourceQuery};

use super::ModelledResource;
use crate::Model;
use crate::limits::LimitMode;
use crate::pipe::{SimNanos, nanos};
use crate::state::CloudState;

/// How replications to a region behave that begin now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replication {
    /// The time until the service reports the end.
    pub takes: Duration,
    /// The time from then until the version can be used in the region.
    pub lag: Duration,
    /// Whether it fails.
    pub fails: bool,
}

impl Model {
    /// Sets how replications to a region behave that begin from now on.
    pub fn set_replication(&self, region: &Region, replication: Replication) {
        self.world().arm.replications.insert(region.clone(), replication);
    }
}

impl Model {
    /// Whether a gallery version can be used in a region now.
    #[must_use]
    pub fn is_usable(&self, version: &ResourceId, region: &Region) -> bool {
        let now = self.moment();
        let world = self.world();
        let replicas = world.arm.resources.get(version).and_then(|found| found.replicas.as_ref());
        replicas.is_some_and(|replicas| replicas.is_usable(region, now))
    }
}

impl CloudState {
    /// Checks a request for a gallery, a definition or a version. `sources` are the snapshots of its disks. Returns the
    /// resource to store, and its replicas.
    pub(super) fn gallery_resource(
        &mut self,
        now: SimNanos,
        request: &PutRequest,
        sources: &[Option<Resource>],
        identity: &NewIdentity,
    ) -> PortResult<(Resource, Option<Replicas>)> {
        let existing = self.arm.resources.get(&request.id).map(|found| found.at(now));
        let parent = request.id.parent().and_then(|parent| self.arm.resources.get(&parent));
        check_gallery(request, existing.as_ref(), parent.map(|found| &found.resource), sources)?;
        let Properties::GalleryVersion(version) = &request.body.properties else {
            let body = request.body.clone();
            return Ok((Resource { id: request.id.clone(), provisioning: super::Provisioning::Succeeded, body }, None));
        };
        let known = self.arm.resources.get(&request.id).and_then(|found| found.replicas.clone());
        let definition = parent.map(|found| found.resource.clone());
        let mut replicas = known.unwrap_or_else(|| {
            let (size, data) = self.sizes_of(version, sources);
            Replicas::new(definition.as_ref(), size, data)
        });
        let (home, size) = (request.body.region.clone(), replicas.size);
        replicas.follow(version, |region| self.replica(now, &home, region, size));
        Ok((stored_version(request, existing.as_ref(), identity), Some(replicas)))
    }

    /// The sizes of the OS disk and of the data disks of a new version. `sources` are the snapshots of its disks, or a
    /// managed image.
    fn sizes_of(&self, version: &GalleryVersionProperties, sources: &[Option<Resource>]) -> (u64, BTreeMap<u32, u64>) {
        let size_of = |source: &Option<Resource>| source.as_ref()?.body.properties.disk()?.disk_size_bytes;
        let first = sources.first().and_then(Option::as_ref);
        if let Some(image) = first.filter(|first| first.id.resource_type == ResourceType::Image) {
            let sizes = self.arm.resources.get(&image.id).map(|found| found.sizes.clone()).unwrap_or_default();
            let data = sizes.iter().filter_map(|(lun, size)| Some(((*lun)?, *size))).collect();
            return (sizes.get(&None).copied().unwrap_or_default(), data);
        }
        let data = version.data_disks().iter().zip(sources.iter().skip(1));
        let data = data.map(|(disk, source)| (disk.lun, size_of(source).unwrap_or_default())).collect();
        (sources.first().and_then(size_of).unwrap_or_default(), data)
    }

    fn replica(&mut self, now: SimNanos, home: &Region, region: &Region, size: u64) -> Replica {
        let replication = self.arm.replications.get(region).copied();
        let by_rates = match (&self.pace, replication) {
            (_, Some(Replication { takes, lag, fails })) => {
                let completes = now.saturating_add(nanos(takes));
                return Replica { begins: now, completes, usable: completes.saturating_add(nanos(lag)), fails };
            }
            (LimitMode::Unlimited, None) => None,
            (LimitMode::Limited(rates), None) => Some(rates.gallery()),
        };
        let Some((copy, lag)) = by_rates.map(|(copy, lag)| (nanos(copy), nanos(lag))) else {
            return Replica { begins: now, completes: now, usable: now, fails: false };
        };
        let (from, to) = (self.region(home), self.region(region));
        let link = self.link(from, to);
        self.links[link].copied += size;
        let completes = self.links[link].pipe.take(now, size).saturating_add(copy);
        Replica { begins: now, completes, usable: completes.saturating_add(lag), fails: false }
    }

    /// The disk of a request that is created from a version, or from the data disk with this LUN of it.
    pub(super) fn disk_from_version(
        &self,
        now: SimNanos,
        request: &PutRequest,
        (version, lun): (&VersionRef, Option<u8>),
        identity: NewIdentity,
    ) -> PortResult<Resource> {
        let id = match version {
            VersionRef::Own(id) => Some(id.clone()),
            VersionRef::Shared(shared) => {
                let all = self.arm.resources.values().map(|found| &found.resource);
                all.filter(|found| is_shared_as(found, shared)).map(|found| shared_id(&found.id, shared)).next()
            }
        };
        let replicas = id.and_then(|id| self.arm.resources.get(&id)?.replicas.as_ref());
        disk_of_version(request, (replicas, lun), identity, now)
    }

    /// Checks that a resource that is deleted contains no others.
    pub(super) fn check_contains_none(&self, id: &ResourceId) -> PortResult<()> {
        let is_in = |other: &ResourceId| other.parent().as_ref() == Some(id);
        let can_contain = matches!(id.resource_type, ResourceType::Gallery | ResourceType::Definition);
        check_empty(id, can_contain && self.arm.resources.keys().any(is_in))
    }

    /// Checks that the resource whose content a query lists exists.
    pub(super) fn check_list(&self, query: &ResourceQuery) -> PortResult<Option<ResourceId>> {
        let parent = query.parent_id()?;
        match parent {
            Some(parent) if !self.arm.resources.contains_key(&parent) => Err(not_found(&parent)),
            parent => Ok(parent),
        }
    }
}

impl ModelledResource {
    /// Sets the state of the replication of a version.
    pub(super) fn show_replicas(&self, resource: &mut Resource, now: SimNanos) {
        if let Some(replicas) = &self.replicas {
            replicas.show(resource, now);
        }
    }
}
