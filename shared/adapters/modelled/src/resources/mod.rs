//! The resources of the modelled cloud. Every resource group exists, and no policy refuses a request.
//!
//! A disk or snapshot has a size, and no bytes. A copy within a region completes at once. A copy from another region
//! takes the time of its whole size on the link between the regions.

mod access;
mod machines;
mod vhd;

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use goldfleet_model::ids::Region;
use goldfleet_model::image::VhdNames;
use goldfleet_model::resource::{CreateOption, Properties, ResourceId, ResourceType};
use goldfleet_model::store::BlobAddress;
use goldfleet_ports::error::{ErrorKind, PortError, PortResult};
use goldfleet_ports::resources::emulation::{NewIdentity, check_image_source, check_put, new_disk, source_of, updated};
use goldfleet_ports::resources::{
    ChangeStatus, MachineAction, Pending, Provisioning, PutRequest, Resource, ResourcePage, ResourceQuery, ResourceService,
};
use jiff::Timestamp;

use super::Model;
use super::limits::ArmKind;
use super::pipe::{SimNanos, nanos};
use super::state::CloudState;

/// The number of resources in one page of a list.
const LIST_PAGE: usize = 100;

/// A resource of the model.
#[derive(Debug, Clone)]
pub(super) struct ModelledResource {
    resource: Resource,
    /// The time at which the creation completes.
    ready: SimNanos,
    /// The time in which the content arrives from another region.
    arrives: Option<Range<SimNanos>>,
}

impl ModelledResource {
    /// The resource as the platform reports it at `now`.
    fn at(&self, now: SimNanos) -> Resource {
        let mut resource = self.resource.clone();
        resource.provisioning = if self.ready <= now { Provisioning::Succeeded } else { Provisioning::InProgress };
        if let (Properties::Snapshot(snapshot), Some(time)) = (&mut resource.body.properties, &self.arrives) {
            snapshot.completion_percent = Some(percent(now, time));
        }
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
                    Ok(world.list(now, query, after.as_ref()))
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
                world.begin_management(now, id.subscription, ArmKind::Delete, |world| world.check_delete(id))
            })
            .await?;
        self.0.world().delete(id);
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
    /// The region from which the content comes, if it is another one.
    copied_from: Option<Region>,
}

impl CloudState {
    /// Applies the checks of Azure.
    fn check_put(&mut self, now: SimNanos, request: &PutRequest, created: Timestamp) -> PortResult<CheckedPut> {
        let existing = self.arm.resources.get(&request.id).cloned();
        check_put(request, existing.as_ref().map(|existing| &existing.resource))?;
        let source_id = source_of(request)?;
        let source = source_id.and_then(|id| self.arm.resources.get(&id)).map(|source| source.at(now));
        let stored = |body| Resource { id: request.id.clone(), provisioning: Provisioning::Succeeded, body };
        let resource = match (&request.body.properties, &existing) {
            (Properties::Image(image), _) => {
                match image.os_disk().and_then(|disk| disk.blob_uri.as_deref()) {
                    Some(blob) => self.check_vhd(request, blob)?,
                    None if existing.is_none() => check_image_source(request, source.as_ref())?,
                    None => {}
                }
                stored(request.body.clone())
            }
            (Properties::Machine(_), None) => {
                let unique_id = self.arm.next_unique_id();
                self.new_machine(request, NewIdentity { unique_id, created })?
            }
            (_, Some(existing)) => stored(updated(&existing.resource.body, &request.body)),
            (_, None) => {
                let unique_id = self.arm.next_unique_id();
                new_disk(request, source.as_ref(), NewIdentity { unique_id, created })?
            }
        };
        let starts_copy = |resource: &Resource| {
            let data = resource.body.properties.disk().map(|disk| &disk.creation_data.create_option);
            data == Some(&CreateOption::CopyStart)
        };
        let copied_from = source.filter(|_| starts_copy(&resource)).map(|source| source.body.region);
        Ok(CheckedPut { resource, existing, copied_from })
    }

    /// Stores the resource of a checked request. Returns the time at which the change completes.
    fn store(&mut self, now: SimNanos, checked: CheckedPut) -> SimNanos {
        let CheckedPut { resource, existing, copied_from } = checked;
        if existing.is_none() {
            self.attach_disks_of(&resource);
        }
        let (takes, _) = self.pace.image();
        let (ready, arrives) = match existing {
            // New tags of an existing resource take effect immediately.
            Some(existing) => (existing.ready, existing.arrives),
            None if resource.id.resource_type == ResourceType::Image => (now.saturating_add(nanos(takes)), None),
            None => (now, copied_from.map(|from| self.copy_between_regions(now, &from, &resource))),
        };
        self.arm.resources.insert(resource.id.clone(), ModelledResource { resource, ready, arrives });
        ready
    }

    /// The time in which the content of a snapshot arrives from another region.
    fn copy_between_regions(&mut self, now: SimNanos, from: &Region, to: &Resource) -> Range<SimNanos> {
        let bytes = to.body.properties.disk().and_then(|disk| disk.disk_size_bytes).unwrap_or_default();
        let (from, to) = (self.region(from), self.region(&to.body.region));
        let link = self.link(from, to);
        self.links[link].copied += bytes;
        now..self.links[link].pipe.take(now, bytes)
    }

    fn list(&self, now: SimNanos, query: &ResourceQuery, after: Option<&ResourceId>) -> ResourcePage {
        let in_group = |id: &ResourceId| {
            let group = query.resource_group.as_ref();
            group.is_none_or(|group| group.as_str().eq_ignore_ascii_case(id.resource_group.as_str()))
        };
        let in_scope = |id: &ResourceId| {
            id.subscription == query.subscription && id.resource_type == query.resource_type && in_group(id)
        };
        let found = self.arm.resources.iter().filter(|(id, _)| in_scope(id) && after.is_none_or(|after| *id > after));
        let mut found: Vec<_> = found.take(LIST_PAGE + 1).collect();
        let is_last = found.len() <= LIST_PAGE;
        found.truncate(LIST_PAGE);
        let next = found.last().filter(|_| !is_last).map(|(id, _)| id.to_string());
        let matching = found.iter().filter(|(_, found)| query.matches_tags(&found.resource.body.tags));
        ResourcePage { resources: matching.map(|(_, found)| found.at(now)).collect(), skipped: 0, next }
    }
}
