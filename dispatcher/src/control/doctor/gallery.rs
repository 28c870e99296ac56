//! Checks of a gallery: whether it exists, and what the identity may do in its resource group.

use goldfleet_galleries::settings::Gallery;
use goldfleet_ports::inspector::Inspector;

use super::access::{DEFINITIONS, GALLERY, Needed, SCRATCH};
use super::services::access_error;
use super::{Finding, group};
use crate::control::context::ControlContext;

/// Checks a gallery. A gallery without problems gives a single finding.
pub(super) async fn examine(control: &ControlContext, inspector: &dyn Inspector, gallery: &Gallery) -> Vec<Finding> {
    let subject = format!("gallery {}", gallery.name);
    let definitions = DEFINITIONS.iter().filter(|_| gallery.create_definition);
    let needed: Vec<&Needed> = SCRATCH.iter().chain(&GALLERY).chain(definitions).collect();
    if let Some(finding) = group::examine(inspector, &subject, &gallery.place(), &needed).await {
        return vec![finding];
    }
    match control.ports.resources.get(&gallery.id(), None).await {
        Ok(Some(found)) if found.body.region == gallery.region => vec![Finding::ok(subject, "ready")],
        // Versions can be in other regions than their gallery.
        Ok(Some(found)) => vec![Finding::ok(subject, format!("ready; the gallery itself is in {}", found.body.region))],
        Ok(None) => {
            let message = format!("there is no gallery {}", gallery.id());
            let remedy = format!(
                "az sig create --gallery-name {} --resource-group {} --subscription {}",
                gallery.name, gallery.resource_group, gallery.subscription
            );
            vec![Finding::error(subject, "gallery-missing", message, remedy)]
        }
        Err(error) => vec![access_error(subject, &error, "the custom role of infra/bicep on the group")],
    }
}
