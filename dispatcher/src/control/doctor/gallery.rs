//! Checks of a gallery: whether it exists, what the identity may do in its resource group, its regions, its hub, and
//! whether the definitions of uploaded images are as the configuration demands.

use std::collections::BTreeMap;

use goldfleet_config::Config;
use goldfleet_config::UploadRoute;
use goldfleet_config::targets::TargetsFile;
use goldfleet_galleries::settings::Gallery;
use goldfleet_galleries::spec::definition_of;
use goldfleet_model::ids::{ImageName, ImageVersion};
use goldfleet_model::resource::{ResourceId, ResourceType};
use goldfleet_ports::Ports;
use goldfleet_ports::inspector::Inspector;
use goldfleet_ports::resources::emulation::galleries::changed_property;
use goldfleet_ports::resources::{ResourceQuery, list_all};

use super::access::{DEFINITIONS, GALLERY, Needed, SCRATCH};
use super::services::access_error;
use super::{Finding, group};
use crate::control::artifacts::artifact_record;
use crate::control::context::{ControlContext, ControlError};
use crate::control::images::images;

/// The number of versions in a subscription and region from which a finding warns. Source: Azure,
/// azure-compute-gallery, limits: 10,000.
const MANY_VERSIONS: usize = 9_000;

/// The remedy for missing rights.
const ROLE: &str = "the custom role of infra/bicep on the group";

/// Checks a gallery. A gallery without problems gives a single finding. Without an inspector, rights and regions are
/// not checked.
pub(super) async fn examine(
    ports: &Ports,
    config: &Config,
    inspector: Option<&dyn Inspector>,
    (gallery, file): (&Gallery, &TargetsFile),
    newest: &[(ImageName, ImageVersion)],
) -> Vec<Finding> {
    let subject = format!("gallery {}", gallery.name);
    let definitions = DEFINITIONS.iter().filter(|_| gallery.create_definition);
    let needed: Vec<&Needed> = SCRATCH.iter().chain(&GALLERY).chain(definitions).collect();
    if let Some(inspector) = inspector
        && let Some(finding) = group::examine(inspector, &subject, &gallery.place(), &needed).await
    {
        return vec![finding];
    }
    let ready = match ports.resources.get(&gallery.id(), None).await {
        Ok(Some(found)) if found.body.region == gallery.region => "ready".to_owned(),
        // Versions can be in other regions than their gallery.
        Ok(Some(found)) => format!("ready; the gallery itself is in {}", found.body.region),
        Ok(None) => return vec![missing(&subject, gallery)],
        // A folder of the directory cloud.
        Err(error) if error.code == "resource-group-not-found" => return vec![missing(&subject, gallery)],
        Err(error) => return vec![access_error(subject, &error, ROLE)],
    };
    let mut findings = match inspector {
        Some(inspector) => regions(inspector, &subject, gallery).await,
        None => Vec::new(),
    };
    findings.extend(hub(config, &subject, gallery, file));
    for (image, version) in newest.iter().filter(|(image, _)| gallery.receives(image)) {
        match definition(ports, config, &subject, gallery, (image, version)).await {
            Ok(found) => findings.extend(found),
            Err(ControlError::Port(error)) => findings.push(access_error(subject.clone(), &error, ROLE)),
            // The images themselves are not checked here.
            Err(error) => tracing::debug!(%image, %error, "its definition is not checked"),
        }
    }
    if findings.is_empty() {
        findings.push(Finding::ok(subject, ready));
    }
    findings
}

/// The newest uploaded version of each image. Images whose records cannot be read are left out.
pub(super) async fn newest_versions(control: &ControlContext) -> Vec<(ImageName, ImageVersion)> {
    let Ok((lines, _)) = images(control, None).await else { return Vec::new() };
    let mut newest = BTreeMap::new();
    for line in lines.into_iter().filter(|line| line.fault.is_none()) {
        match newest.get(&line.image) {
            Some((at, _)) if *at >= line.uploaded => {}
            _ => drop(newest.insert(line.image, (line.uploaded, line.version))),
        }
    }
    newest.into_iter().map(|(image, (_, version))| (image, version)).collect()
}

fn missing(subject: &str, gallery: &Gallery) -> Finding {
    let message = format!("there is no gallery {}", gallery.id());
    let remedy = format!(
        "az sig create --gallery-name {} --resource-group {} --subscription {}",
        gallery.name, gallery.resource_group, gallery.subscription
    );
    Finding::error(subject, "gallery-missing", message, remedy)
}

/// The wanted regions in which the subscription can have no gallery versions.
async fn regions(inspector: &dyn Inspector, subject: &str, gallery: &Gallery) -> Vec<Finding> {
    let known = match inspector.regions_of(ResourceType::GalleryVersion, &gallery.subscription, None).await {
        Ok(Some(known)) => known,
        Ok(None) => {
            let message = "the subscription is not registered for Microsoft.Compute";
            return vec![Finding::error(
                subject,
                "provider-not-registered",
                message,
                "run 'goldfleet setup --register'",
            )];
        }
        Err(error) => return vec![access_error(subject.to_owned(), &error, "Reader on the subscription")],
    };
    let unknown = gallery.all_regions().into_iter().filter(|region| !known.contains(&region.name));
    let finding = |region: goldfleet_galleries::settings::GalleryRegion| {
        let message = format!("gallery versions cannot be in {} for this subscription", region.name);
        Finding::error(
            subject,
            "region-not-available",
            message,
            "correct the region, or request access to it from Azure support",
        )
    };
    unknown.map(finding).collect()
}

/// The hub from which the route `region` publishes.
fn hub(config: &Config, subject: &str, gallery: &Gallery, file: &TargetsFile) -> Option<Finding> {
    if file.hubs.contains_key(&gallery.region) {
        return None;
    }
    let message = format!("{} has no hub, from which uploaded versions are published", gallery.region);
    let remedy = "give a [[store]] of the region subscription and resource_group";
    Some(match config.plan.route {
        UploadRoute::Region => Finding::error(subject, "hub-missing", message, remedy),
        UploadRoute::Staging => Finding::warning(subject, "hub-missing", message, remedy),
    })
}

/// The faults of the definition of an image.
async fn definition(
    ports: &Ports,
    config: &Config,
    subject: &str,
    gallery: &Gallery,
    (image, version): (&ImageName, &ImageVersion),
) -> Result<Vec<Finding>, ControlError> {
    let artifact = artifact_record(ports, config, image, version).await?.artifact;
    let wanted = definition_of(gallery, image, artifact.os, artifact.generation);
    let id = gallery.definition_of(image).map_err(|error| ControlError::Refused(error.to_string()))?;
    let mut findings = Vec::new();
    let Some(found) = ports.resources.get(&id, None).await? else {
        if !gallery.create_definition {
            let message = format!("there is no image definition {id} for {image}");
            let remedy = "create it, or set create_definition = true";
            findings.push(Finding::error(subject, "definition-missing", message, remedy));
        }
        return Ok(findings);
    };
    let changed = found.body.properties.definition().and_then(|found| changed_property(found, &wanted));
    if let Some(property) = changed {
        let message =
            format!("image definition {id} has another {property} than the configuration or {image} {version}");
        let remedy = "change the configuration, or name another definition: the property cannot be changed";
        findings.push(Finding::error(subject, "definition-differs", message, remedy));
    }
    let versions = versions(ports, &id).await?;
    if versions >= MANY_VERSIONS {
        let message = format!("{id} has {versions} versions, and a subscription has at most 10000 in a region");
        let remedy = "delete versions that nothing uses, or have the limit raised";
        findings.push(Finding::warning(subject, "gallery-versions-limit", message, remedy));
    }
    Ok(findings)
}

/// The number of versions of a definition.
async fn versions(ports: &Ports, definition: &ResourceId) -> Result<usize, ControlError> {
    let query = ResourceQuery {
        resource_type: ResourceType::GalleryVersion,
        subscription: definition.subscription,
        resource_group: Some(definition.resource_group.clone()),
        parent: Some(definition.name.clone()),
        tags: BTreeMap::new(),
        tenant: None,
    };
    let page = list_all(ports.resources.as_ref(), ports.clock.as_ref(), &query).await?;
    Ok(page.resources.len() + page.unreadable.len())
}
