//! The plan: reads the source, and what the targets have.

use std::collections::BTreeMap;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use goldfleet_config::Config;
use goldfleet_config::targets::TargetsFile;
use goldfleet_galleries::spec::Published;
use goldfleet_hubs::graph::sink_id;
use goldfleet_hubs::plan::{Delivery, HubPlace, PlannedTarget, Version};
use goldfleet_model::artifact::DiskRole;
use goldfleet_model::ids::{ManagedImageName, Region};
use goldfleet_model::image::ImageRef;
use goldfleet_model::job::{Finding, Job};
use goldfleet_model::resource::{Properties, ResourceId, ResourceType};
use goldfleet_model::selector::Selector;
use goldfleet_model::sink::Sink;
use goldfleet_model::target::Target;
use goldfleet_ports::Ports;
use goldfleet_ports::error::PortResult;
use goldfleet_snapshots::id::GroupRef;
use goldfleet_snapshots::tags::Role;

use super::PlatformSpec;
use super::source::{self, FoundSource, PlacedSource};
use crate::control::context::{ControlContext, ControlError, MAX_IN_FLIGHT};
use crate::control::doctor::probe::known::Known;
use crate::control::fan_out::{existing_at_target, has_image, name_images};
use crate::control::galleries;
use crate::control::measured;
use crate::control::other_tenant;
use crate::control::request::plan_order;
use crate::control::routes::rows::group_of;

/// What a job does.
#[derive(Debug, Clone)]
pub struct PlannedDelivery {
    /// The copies.
    pub delivery: Delivery,
    /// The properties of the source that the copies lack.
    pub findings: Vec<Finding>,
}

/// Plans a job. Changes nothing.
///
/// # Errors
/// [`ControlError`] if the source or a target is refused, or if a service cannot be reached.
pub async fn plan(control: &ControlContext, job: &Job) -> Result<PlannedDelivery, ControlError> {
    let spec = PlatformSpec::of(job)?;
    let (Some(image), Some(payload)) = (job.image(), job.payload()) else {
        return Err(ControlError::Refused("the job names no image version".to_owned()));
    };
    let found = requested_source(control, &spec).await?;
    let file = TargetsFile::load(&control.config.targets.file)?;
    let hubs = hubs(&file);
    let preferred = preferred_regions(&control.config, &file, job);
    let preferred: Vec<&Region> = preferred.iter().collect();
    let PlacedSource { os_disk: source, data, image: source_image, scratch } = found.place(&hubs, &preferred)?;
    let fleet = control.ports.table.fleet().await?;
    let luns: Vec<u8> = data.iter().filter_map(|disk| disk.role.lun()).collect();
    let published = Published {
        fleet,
        job: &job.id,
        image,
        os: payload.os,
        generation: payload.generation,
        source: &source.unique_id,
        data: &luns,
        tags: &control.config.images.tags,
        now: job.created,
    };
    let settings = file.galleries_of(&image.name, &job.selection).into_iter().cloned().collect();
    let galleries = galleries::plan(control, settings, published).await?;
    let mut selected = file.into_selected(&job.selection);
    if selected.is_empty() && galleries.is_empty() {
        return Err(ControlError::NoTargets { file: control.config.targets.file.clone() });
    }
    selected.sort_by_key(plan_order);
    let targets: Vec<PlannedTarget> = stream::iter(name_images(&control.config, image, selected)?)
        .map(|(target, name)| planned_target(&control.ports, (image, &luns), target, name))
        .buffered(MAX_IN_FLIGHT)
        .try_collect()
        .await?;
    let delivery = Delivery {
        fleet,
        job: job.id.clone(),
        source,
        data,
        image: source_image,
        scratch,
        version: Version { image: image.clone(), os: payload.os, generation: payload.generation },
        hubs,
        targets,
        galleries,
        tags: control.config.images.tags.clone(),
        storage: control.config.images.storage_type,
    };
    let mut refusals = delivery.refusals();
    refusals.extend(tenant_refusals(&control.config, &delivery));
    refusals.extend(measured_refusals(control, &delivery).await?);
    if !refusals.is_empty() {
        return Err(ControlError::NotCopied(refusals));
    }
    Ok(PlannedDelivery { findings: delivery.notes(), delivery })
}

/// The targets and hubs in another tenant than the source, as `[tenants]` names them.
fn tenant_refusals(config: &Config, delivery: &Delivery) -> Vec<Finding> {
    const REMEDY: &str = "upload it with 'upload --from', and dispatch the uploaded version by the route staging";
    let source = delivery.source.id.subscription;
    // The targets with a tenant of their own are refused already.
    let targets = delivery.targets.iter().map(|planned| &planned.target).filter(|target| target.tenant.is_none());
    let targets = targets.map(|target| (target.subscription, target.key().to_string()));
    let hubs = delivery.remote_regions().filter_map(|region| Some((delivery.hubs.get(region)?.group.clone(), region)));
    let hubs = hubs.map(|(group, region)| (group.subscription, format!("hub of {region}")));
    targets.chain(hubs).filter_map(|(to, place)| other_tenant::refusal(config, (source, to), place, REMEDY)).collect()
}

/// What a probe found not to work.
async fn measured_refusals(control: &ControlContext, delivery: &Delivery) -> Result<Vec<Finding>, ControlError> {
    let known = Known::read(&control.ports).await?;
    let mut found = measured::refusals_of_targets(&known, delivery.to_do());
    let disk = &delivery.source;
    let from = if delivery.needs_scratch(disk) { delivery.scratch(disk) } else { GroupRef::from(&disk.id) };
    let hubs = delivery.remote_regions().filter_map(|region| Some((delivery.hubs.get(region)?, region)));
    let source = (&from, disk.region());
    found.extend(hubs.filter_map(|hub| measured::refusal_of_hub(&known, source, hub)));
    Ok(found)
}

/// Reads the source. Refuses it if it is not the one for which the job was requested.
async fn requested_source(control: &ControlContext, spec: &PlatformSpec) -> Result<FoundSource, ControlError> {
    let location = spec.location();
    let found = source::read(control, &location).await?;
    if found.spec.is_same_source(spec) {
        return Ok(found);
    }
    Err(ControlError::Refused(format!("{location} was created again after the job was requested: dispatch it again")))
}

/// The regions in which the temporary disks of a gallery version are best: that of the source store, and then those
/// with the most targets.
fn preferred_regions(config: &Config, file: &TargetsFile, job: &Job) -> Vec<Region> {
    let mut targets: BTreeMap<&Region, usize> = BTreeMap::new();
    for target in file.targets.iter().filter(|target| Selector::any(&job.selection, target)) {
        *targets.entry(&target.region).or_default() += 1;
    }
    let mut regions: Vec<(&Region, usize)> = targets.into_iter().collect();
    regions.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    std::iter::once(&config.source.region).chain(regions.into_iter().map(|(region, _)| region)).cloned().collect()
}

/// A target, and whether it has all that it should receive.
async fn planned_target(
    ports: &Ports,
    (image, luns): (&ImageRef, &[u8]),
    target: Target,
    name: ManagedImageName,
) -> PortResult<PlannedTarget> {
    let group = group_of(&target, &name);
    let planned = PlannedTarget { target, name, group, is_done: false };
    for sink in planned.target.sinks.iter() {
        let has = match sink {
            Sink::Image => has_image(ports, image, &planned.target, planned.name.clone()).await?,
            Sink::Snapshot => has_copies(ports, (image, luns), &planned, ResourceType::Snapshot).await?,
            Sink::Disk => has_copies(ports, (image, luns), &planned, ResourceType::Disk).await?,
        };
        if !has {
            return Ok(planned);
        }
    }
    Ok(PlannedTarget { is_done: true, ..planned })
}

/// Whether a target has exactly this version as snapshots or disks.
async fn has_copies(
    ports: &Ports,
    (image, luns): (&ImageRef, &[u8]),
    planned: &PlannedTarget,
    resource_type: ResourceType,
) -> PortResult<bool> {
    for role in std::iter::once(DiskRole::Os).chain(luns.iter().copied().map(DiskRole::Data)) {
        if !has_copy(ports, image, planned, &sink_id(planned, resource_type, role)).await? {
            return Ok(false);
        }
    }
    Ok(true)
}

async fn has_copy(ports: &Ports, image: &ImageRef, planned: &PlannedTarget, id: &ResourceId) -> PortResult<bool> {
    let found = existing_at_target(ports, &planned.target, id).await?;
    Ok(found.is_some_and(|found| {
        let is_complete = match &found.body.properties {
            Properties::Snapshot(snapshot) => snapshot.is_complete(),
            _ => true,
        };
        is_complete
            && Role::in_tags(&found.body.tags) == Some(Role::Sink)
            && found.was_created_from(image.digest, &planned.target.region)
    }))
}

/// The hub of each region: the configured one, or the resource group of the first enabled target of the region, or that
/// of its first gallery. It does not depend on the selection of a job.
#[must_use]
pub fn hubs(file: &TargetsFile) -> BTreeMap<Region, HubPlace> {
    let mut first: BTreeMap<&Region, &Target> = BTreeMap::new();
    for target in file.targets.iter().filter(|target| target.enabled && target.tenant.is_none()) {
        let known = first.entry(&target.region).or_insert(target);
        if plan_order(target) < plan_order(known) {
            *known = target;
        }
    }
    let of_targets = first.into_iter().map(|(region, target)| {
        let place = HubPlace { group: target.into(), encryption_set: target.disk_encryption_set.clone() };
        (region.clone(), place)
    });
    let mut hubs: BTreeMap<Region, HubPlace> = of_targets.collect();
    for gallery in file.galleries.iter().filter(|gallery| gallery.enabled) {
        let place = || HubPlace { group: gallery.place(), encryption_set: gallery.encryption_set().map(str::to_owned) };
        hubs.entry(gallery.region.clone()).or_insert_with(place);
    }
    hubs.extend(file.hubs.iter().map(|(region, hub)| {
        let place = HubPlace { group: hub.group.clone(), encryption_set: hub.disk_encryption_set.clone() };
        (region.clone(), place)
    }));
    hubs
}
