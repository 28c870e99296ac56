//! The plan of a job of the region route: reads what the targets, the galleries and the hubs have.

use std::collections::{BTreeMap, BTreeSet};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use goldfleet_config::HumanDuration;
use goldfleet_config::targets::TargetsFile;
use goldfleet_galleries::settings::Gallery;
use goldfleet_galleries::spec::Published;
use goldfleet_hubs::plan::{HubPlace, PlannedTarget, Version};
use goldfleet_hubs::region::RegionDelivery;
use goldfleet_model::artifact::LoadedVersion;
use goldfleet_model::ids::Region;
use goldfleet_model::job::Job;
use goldfleet_model::resource::{Properties, ResourceId};
use goldfleet_model::store::Store;
use goldfleet_model::target::Target;
use goldfleet_plan::{GalleryReceiver, Inventory, Plan, PlanContent, PlanRequest, hub_targets};
use goldfleet_ports::Ports;
use goldfleet_ports::error::PortResult;
use goldfleet_ports::resources::{Provisioning, Resource};
use goldfleet_rates::Rates;
use goldfleet_snapshots::tags::Role;

use super::hubs;
use crate::control::context::{ControlContext, ControlError, MAX_IN_FLIGHT};
use crate::control::doctor::probe::known::Known;
use crate::control::fan_out::{has_image, name_images};
use crate::control::galleries;
use crate::control::measured;
use crate::control::request::plan_order;
use crate::control::routes::rows::group_of;
use crate::control::store_inventory::read_inventory;

/// What a job does.
#[derive(Debug, Clone)]
pub struct PlannedRegions {
    /// The disks, snapshots and images.
    pub delivery: RegionDelivery,
    /// Which store fills which, and from which store each hub reads. Hubs whose golden snapshots exist are not a part
    /// of it.
    pub plan: Plan,
}

/// Plans a job. Changes nothing.
///
/// # Errors
/// [`ControlError`] if a target or the version is refused, or if a service cannot be reached.
pub async fn plan(
    control: &ControlContext,
    job: &Job,
    version: &LoadedVersion,
) -> Result<PlannedRegions, ControlError> {
    let rates = Rates::load(control.config.plan.rates.as_deref())?;
    let file = TargetsFile::load(&control.config.targets.file)?;
    let (hubs, configured) = (hubs(&file), file.stores_by_region());
    let image = &version.image;
    let settings: Vec<Gallery> = file.galleries_of(&image.name, &job.selection).into_iter().cloned().collect();
    let mut selected = file.into_selected(&job.selection);
    if selected.is_empty() && settings.is_empty() {
        return Err(ControlError::NoTargets { file: control.config.targets.file.clone() });
    }
    selected.sort_by_key(plan_order);
    let targets: Vec<PlannedTarget> = stream::iter(name_images(&control.config, image, selected)?)
        .map(|(target, name)| async move {
            let is_done = has_image(&control.ports, image, &target, name.clone()).await?;
            PortResult::Ok(PlannedTarget { group: group_of(&target, &name), target, name, is_done })
        })
        .buffered(MAX_IN_FLIGHT)
        .try_collect()
        .await?;
    let (os, generation) = (version.artifact.os, version.artifact.generation);
    let fleet = control.ports.table.fleet().await?;
    let luns: Vec<u8> = version.artifact.disks.iter().filter_map(|disk| disk.disk.role.lun()).collect();
    let published = Published {
        fleet,
        job: &job.id,
        image,
        os,
        generation,
        source: &image.digest.to_string(),
        data: &luns,
        tags: &control.config.images.tags,
        now: job.created,
    };
    let galleries = galleries::plan(control, settings, published).await?;
    let delivery = RegionDelivery {
        fleet,
        job: job.id.clone(),
        version: Version { image: image.clone(), os, generation },
        disks: version.artifact.disks.clone(),
        hubs,
        targets,
        galleries,
    };
    let mut refusals = delivery.refusals();
    refusals.extend(measured::refusals_of_targets(&Known::read(&control.ports).await?, delivery.to_do()));
    if !refusals.is_empty() {
        return Err(ControlError::NotCopied(refusals));
    }
    let plan = plan_chunks(control, version, &delivery, &configured, &rates).await?;
    Ok(PlannedRegions { delivery, plan })
}

/// Plans how chunks reach the hubs whose golden snapshots do not exist. If no plan is fast enough, the fastest is used.
async fn plan_chunks(
    control: &ControlContext,
    version: &LoadedVersion,
    delivery: &RegionDelivery,
    configured: &BTreeMap<Region, Vec<Store>>,
    rates: &Rates,
) -> Result<Plan, ControlError> {
    let finished = regions_with_snapshots(&control.ports, delivery).await?;
    let is_wanted = |target: &&Target| !finished.contains(&target.region);
    let wanted: Vec<&Target> = delivery.to_do().map(|planned| &planned.target).filter(is_wanted).collect();
    let receivers: Vec<GalleryReceiver> = delivery
        .galleries_to_do()
        .filter(|planned| !finished.contains(&planned.settings.region))
        .map(|planned| galleries::receiver(&planned.settings))
        .collect();
    let hubs = hub_targets(&wanted, &receivers);
    let (source, content) = (control.config.source.store(), PlanContent::from_manifests(&version.manifests));
    // Chunks come only from stores, so the accounts of targets are not used.
    let inventory: Inventory = read_inventory(&control.ports, &control.config, configured, &[], &content).await?;
    let made = Plan::make(&PlanRequest {
        source: &source,
        targets: &hubs.iter().collect::<Vec<_>>(),
        configured,
        content: &content,
        inventory: &inventory,
        rates,
        within: control.config.plan.within.map(HumanDuration::get),
    });
    Ok(made.unwrap_or_else(|too_slow| {
        tracing::warn!(image = %version.image, %too_slow, "the fastest plan is taken");
        *too_slow.fastest
    }))
}

/// The regions whose golden snapshots exist. They need no chunks.
async fn regions_with_snapshots(ports: &Ports, delivery: &RegionDelivery) -> Result<BTreeSet<Region>, ControlError> {
    let regions: Vec<(&Region, &HubPlace)> = delivery.regions().collect();
    let looks = stream::iter(0..regions.len()).map(|index| has_snapshots(ports, delivery, regions[index]));
    let has: Vec<bool> = looks.buffered(MAX_IN_FLIGHT).try_collect().await?;
    Ok(regions.iter().zip(has).filter(|(_, has)| *has).map(|((region, _), _)| (*region).clone()).collect())
}

/// Whether a hub has the golden snapshots of all disks.
async fn has_snapshots(
    ports: &Ports,
    delivery: &RegionDelivery,
    (region, hub): (&Region, &HubPlace),
) -> PortResult<bool> {
    for disk in &delivery.disks {
        let id = delivery.golden(region, hub, disk);
        if !found(ports, &id).await?.is_some_and(|found| is_golden(&found, delivery)) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The resource with this id. None if the service refuses the request: the operation gets the same error.
async fn found(ports: &Ports, id: &ResourceId) -> PortResult<Option<Resource>> {
    match ports.retry(|| ports.resources.get(id, None)).await {
        Err(error) if !error.is_retryable() => {
            tracing::warn!(%error, code = error.code, "planned as if {id} did not exist");
            Ok(None)
        }
        found => found,
    }
}

fn is_golden(found: &Resource, delivery: &RegionDelivery) -> bool {
    let is_complete = match &found.body.properties {
        Properties::Snapshot(snapshot) => snapshot.is_complete() && found.provisioning == Provisioning::Succeeded,
        _ => false,
    };
    is_complete
        && Role::in_tags(&found.body.tags) == Some(Role::Golden)
        && found.was_created_from(delivery.version.image.digest, &found.body.region)
}
