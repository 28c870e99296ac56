//! The resources of the modelled cloud. Every resource group exists, and no policy refuses a request.
//!
//! A disk or snapshot has a size, and the bytes that a test or an upload places in it. A snapshot takes the time of the
//! rates, independent of its size. A copy from another region takes the time of its bytes on the link between the
//! regions: the whole size for the first copy of a family, and what was written to the disk since the newest snapshot
//! that was copied before for each later one.

mod access;
mod content;
mod copies;
mod galleries;
mod locks;
mod machines;
mod pages;
mod restore_points;
mod vhd;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use goldfleet_model::ids::Region;
use goldfleet_model::image::VhdNames;
use goldfleet_model::resource::{ImageProperties, Properties, ResourceId, ResourceType};
use goldfleet_model::store::BlobAddress;
use goldfleet_ports::error::{ErrorKind, PortError, PortResult};
use goldfleet_ports::resources::emulation::galleries::{Replicas, version_of};
use goldfleet_ports::resources::emulation::{
    FamilyOrder, NewIdentity, check_copy_start, check_image_source, check_luns, check_put, data_sources_of, luns_of,
    new_disk, not_found, order_of, source_of, updated,
};
use goldfleet_ports::resources::{
    ChangeStatus, MachineAction, Pending, Provisioning, PutRequest, Resource, ResourcePage, ResourceQuery,
    ResourceService,
};
use jiff::Timestamp;

use super::Model;
use super::limits::ArmKind;
use super::pipe::{SimNanos, nanos};
use super::state::CloudState;
pub(super) use content::Contents;
pub use galleries::Replication;

/// The number of resources in one page of a list.
const LIST_PAGE: usize = 100;

/// The sizes of the disks of a managed image, by LUN. The OS disk has none.
type Sizes = BTreeMap<Option<u32>, u64>;

/// A resource of the model.
#[derive(Debug, Clone)]
pub(super) struct ModelledResource {
    resource: Resource,
    /// The time at which the creation completes.
    ready: SimNanos,
    /// The time in which the content arrives from another region.
    arrives: Option<Range<SimNanos>>,
    /// The number of bytes that were written to the disk until now, or until the snapshot was created.
    written: u64,
    /// The replication of a gallery version.
    replicas: Option<Replicas>,
    /// The sizes of the disks of a managed image, by LUN. The OS disk has none.
    sizes: Sizes,
    /// The place of the source of a copy from another region in the order of its family.
    order: Option<FamilyOrder>,
}

impl ModelledResource {
    pub(super) fn unique_id(&self) -> Option<&str> {
        self.resource.body.properties.disk()?.unique_id.as_deref()
    }

    /// The resource as the platform reports it at `now`.
    fn at(&self, now: SimNanos) -> Resource {
        let mut resource = self.resource.clone();
        resource.provisioning = if self.ready <= now { Provisioning::Succeeded } else { Provisioning::InProgress };
        if let (Properties::Snapshot(snapshot), Some(time)) = (&mut resource.body.properties, &self.arrives) {
            snapshot.completion_percent = Some(percent(now, time));
        }
        self.show_replicas(&mut resource, now);
        resource
    }
}

/// The part of a time range that has passed, in whole percent.
fn percent(now: SimNanos, time: &Range<SimNanos>) -> f64 {
    let (passed, whole) = (now.saturating_sub(time.start), time.end.saturating_sub(time.start));
    let percent = (u128::from(passed) * 100).checked_div(u128::from(whole)).unwrap_or(100).min(100);
    f64::from(u8::try_from(percent).unwrap_or(100))
}

/// The resources of a modelled cloud.
#[derive(Clone)]
pub struct ModelledResources(Arc<Model>);

impl ModelledResources {
    /// Opens the resources of `model`.
    #[must_use]
    pub fn new(model: Arc<Model>) -> Self {
        Self(model)
    }

    /// The status of a change that completes at `ready`.
    fn underway(&self, id: &ResourceId, ready: SimNanos) -> ChangeStatus {
        let now = self.0.moment();
        if ready <= now {
            return ChangeStatus::Done;
        }
        let (_, again) = self.0.world().pace.image();
        let retry_after = again.min(Duration::from_nanos(ready - now)).max(Duration::from_millis(1));
        ChangeStatus::Pending(Pending { id: id.clone(), poll: String::new(), retry_after })
    }
}

#[async_trait]
impl ResourceService for ModelledResources {
    fn vhd_names(&self) -> VhdNames {
        VhdNames::Flat
    }

    fn blob_url(&self, blob: &BlobAddress) -> String {
        blob.to_string()
    }

    async fn get(&self, id: &ResourceId, _tenant: Option<&str>) -> PortResult<Option<Resource>> {
        let found = self
            .0
            .run_request(|world, now| {
                world.begin_management(now, id.subscription, ArmKind::Read, |world| {
                    Ok(world.arm.resources.get(id).cloned())
                })
            })
            .await?;
        let now = self.0.moment();
        Ok(found.map(|found| Resource { id: id.clone(), ..found.at(now) }))
    }

    async fn list(&self, query: &ResourceQuery, marker: Option<&str>) -> PortResult<ResourcePage> {
        let after = marker.map(str::parse::<ResourceId>).transpose().map_err(|error| {
            PortError::new(ErrorKind::Invalid, format!("{marker:?} is not a marker of this cloud")).with_source(error)
        })?;
        self.0
            .run_request(|world, now| {
                world.begin_management(now, query.subscription, ArmKind::Read, |world| {
                    let parent = world.check_list(query)?;
                    Ok(world.list(now, query, parent.as_ref(), after.as_ref()))
                })
            })
            .await
    }

    async fn put(&self, request: &PutRequest) -> PortResult<ChangeStatus> {
        check_put(request, None)?;
        let created = self.0.now();
        let checked = self
            .0
            .run_request(|world, now| {
                world.begin_management(now, request.id.subscription, ArmKind::Write, |world| {
                    world.check_put(now, request, created)
                })
            })
            .await?;
        let now = self.0.moment();
        let mut world = self.0.world();
        let ready = world.store(now, checked);
        drop(world);
        Ok(self.underway(&request.id, ready))
    }

    async fn delete(&self, id: &ResourceId, _tenant: Option<&str>) -> PortResult<ChangeStatus> {
        self.0
            .run_request(|world, now| {
                world.begin_management(now, id.subscription, ArmKind::Delete, |world| {
                    world.check_deletion(id)?;
                    world.check_contains_none(id)?;
                    world.check_unused(id)
                })
            })
            .await?;
        let now = self.0.moment();
        let mut world = self.0.world();
        for contained in world.contained(id) {
            world.remove_resource(now, &contained);
        }
        world.remove_resource(now, id);
        drop(world);
        Ok(ChangeStatus::Done)
    }

    async fn act(&self, id: &ResourceId, action: MachineAction, _tenant: Option<&str>) -> PortResult<ChangeStatus> {
        self.0
            .run_request(|world, now| {
                world.begin_management(now, id.subscription, ArmKind::Write, |world| world.act(id, action))
            })
            .await?;
        Ok(ChangeStatus::Done)
    }

    async fn poll(&self, pending: &Pending) -> PortResult<ChangeStatus> {
        let subscription = pending.id.subscription;
        let ready = self
            .0
            .run_request(|world, now| {
                let ready = |world: &mut CloudState| Ok(world.arm.resources.get(&pending.id).map(|found| found.ready));
                world.begin_management(now, subscription, ArmKind::Read, ready)
            })
            .await?;
        Ok(ready.map_or(ChangeStatus::Done, |ready| self.underway(&pending.id, ready)))
    }
}

/// A request that has passed the checks: the resource to store, and the one that it replaces.
struct CheckedPut {
    resource: Resource,
    existing: Option<ModelledResource>,
    /// The source of its content, if it is created from one.
    source: Option<CopySource>,
    /// The replication of a gallery version.
    replicas: Option<Replicas>,
    /// The sizes of the disks of a managed image.
    sizes: Sizes,
}

/// The source of a copy.
struct CopySource {
    /// The region.
    region: Region,
    /// The number of bytes that had been written to its disk.
    written: u64,
    /// Its place in the order of its family.
    order: Option<FamilyOrder>,
}

impl CloudState {
    /// Applies the checks of Azure.
    fn check_put(&mut self, now: SimNanos, request: &PutRequest, created: Timestamp) -> PortResult<CheckedPut> {
        self.check_change(&request.id)?;
        let existing = self.arm.resources.get(&request.id).cloned();
        check_put(request, existing.as_ref().map(|existing| &existing.resource))?;
        let source_id = source_of(request)?;
        let found = source_id.and_then(|id| self.arm.resources.get(&id));
        let (written, source) = (found.map_or(0, |found| found.written), found.map(|found| found.at(now)));
        let stored = |body| Resource { id: request.id.clone(), provisioning: Provisioning::Succeeded, body };
        let (mut replicas, mut sizes) = (None, Sizes::new());
        let resource = match (&request.body.properties, &existing) {
            (Properties::Gallery(_) | Properties::Definition(_) | Properties::GalleryVersion(_), _) => {
                let identity = NewIdentity { unique_id: String::new(), created };
                let mut sources = vec![source.clone()];
                for (_, id) in data_sources_of(request)? {
                    sources.push(self.arm.resources.get(&id).map(|found| found.at(now)));
                }
                let (resource, of_version) = self.gallery_resource(now, request, &sources, &identity)?;
                replicas = of_version;
                resource
            }
            (Properties::Image(image), _) => {
                check_luns(&request.id, luns_of(image))?;
                sizes = self.check_image(now, request, image, source.as_ref(), existing.as_ref())?;
                stored(request.body.clone())
            }
            (Properties::RestorePointCollection(_) | Properties::RestorePoint(_), existing) => {
                let existing = existing.as_ref().map(|existing| existing.resource.clone());
                self.restore_point(request, existing, created)?
            }
            (Properties::Machine(_), None) => {
                let unique_id = self.arm.next_unique_id();
                self.new_machine(request, NewIdentity { unique_id, created })?
            }
            (_, Some(existing)) => stored(updated(&existing.resource.body, &request.body)),
            (_, None) if version_of(request)?.is_some() => {
                let unique_id = self.arm.next_unique_id();
                let identity = NewIdentity { unique_id, created };
                let Some((version, lun)) = version_of(request)? else { return Err(not_found(&request.id)) };
                self.disk_from_version(now, request, (&version, lun), identity)?
            }
            (_, None) => {
                check_copy_start(request, source.as_ref(), &self.regional_copies(now, request))?;
                let unique_id = self.arm.next_unique_id();
                new_disk(request, source.as_ref(), NewIdentity { unique_id, created })?
            }
        };
        let source = source.map(|source| CopySource { order: order_of(&source), region: source.body.region, written });
        Ok(CheckedPut { resource, existing, source, replicas, sizes })
    }

    /// Checks an image. Returns the sizes of the disks of a new one.
    fn check_image(
        &self,
        now: SimNanos,
        request: &PutRequest,
        image: &ImageProperties,
        source: Option<&Resource>,
        existing: Option<&ModelledResource>,
    ) -> PortResult<Sizes> {
        let mut sizes = Sizes::new();
        let data = image.data_disks().iter().map(|data| (Some(data.lun), &data.disk));
        for (lun, disk) in image.os_disk().map(|disk| (None, disk)).into_iter().chain(data) {
            if let Some(blob) = disk.blob_uri.as_deref() {
                sizes.insert(lun, self.check_vhd(request, blob)?);
            }
        }
        if existing.is_some() {
            return Ok(sizes);
        }
        let size = |found: Option<&Resource>| found.and_then(|found| found.body.properties.disk()?.disk_size_bytes);
        if image.os_disk().is_some_and(|disk| disk.blob_uri.is_none()) {
            check_image_source(request, source)?;
            sizes.insert(None, size(source).unwrap_or_default());
        }
        for (lun, id) in data_sources_of(request)? {
            let found = self.arm.resources.get(&id).map(|found| found.at(now));
            check_image_source(request, found.as_ref())?;
            sizes.insert(Some(lun), size(found.as_ref()).unwrap_or_default());
        }
        Ok(sizes)
    }

    /// Stores the resource of a checked request. Returns the time at which the change completes.
    fn store(&mut self, now: SimNanos, checked: CheckedPut) -> SimNanos {
        let CheckedPut { resource, existing, source, replicas, sizes } = checked;
        if existing.is_none() {
            self.attach_disks_of(&resource);
        }
        let (takes, _) = self.pace.image();
        if let (None, Some(disk)) = (&existing, resource.body.properties.disk())
            && let (Some(source), Some(copy)) = (&disk.creation_data.source_unique_id, &disk.unique_id)
        {
            self.arm.contents.copy(source, copy);
        }
        let is_image = resource.id.resource_type == ResourceType::Image;
        let stored = match (existing, source) {
            // New tags of an existing resource take effect immediately.
            (Some(existing), _) => ModelledResource { resource, replicas, ..existing },
            (None, source) => {
                let is_copy = resource.id.resource_type == ResourceType::Snapshot && !copies::starts(&resource);
                let ready = match (is_image, is_copy) {
                    (true, _) => now.saturating_add(nanos(takes)),
                    (false, true) => now.saturating_add(nanos(self.pace.snapshot())),
                    (false, false) => now,
                };
                let late = source.as_ref().filter(|_| copies::starts(&resource));
                let arrives = late.map(|source| self.copy_between_regions(now, source, &resource));
                let order = late.and_then(|source| source.order.clone());
                let written = source.map_or(0, |source| source.written);
                ModelledResource { resource, ready, arrives, written, order, replicas, sizes }
            }
        };
        let ready = stored.ready;
        self.arm.resources.insert(stored.resource.id.clone(), stored);
        ready
    }

    fn list(
        &self,
        now: SimNanos,
        query: &ResourceQuery,
        parent: Option<&ResourceId>,
        after: Option<&ResourceId>,
    ) -> ResourcePage {
        let in_group = |id: &ResourceId| {
            let group = query.resource_group.as_ref();
            group.is_none_or(|group| group.as_str().eq_ignore_ascii_case(id.resource_group.as_str()))
        };
        let in_scope = |id: &ResourceId| {
            let is_of_type = id.subscription == query.subscription && id.resource_type == query.resource_type;
            is_of_type && in_group(id) && parent.is_none_or(|parent| id.parent().as_ref() == Some(parent))
        };
        let found = self.arm.resources.iter().filter(|(id, _)| in_scope(id) && after.is_none_or(|after| *id > after));
        let mut found: Vec<_> = found.take(LIST_PAGE + 1).collect();
        let is_last = found.len() <= LIST_PAGE;
        found.truncate(LIST_PAGE);
        let next = found.last().filter(|_| !is_last).map(|(id, _)| id.to_string());
        let matching = found.iter().filter(|(_, found)| query.matches_tags(&found.resource.body.tags));
        ResourcePage { resources: matching.map(|(_, found)| found.at(now)).collect(), unreadable: Vec::new(), next }
    }
}
