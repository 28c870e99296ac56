//! Checks of galleries.

use std::collections::{HashMap, HashSet};
use std::fmt::Display;

use goldfleet_diagnostics::Diagnostic;
use goldfleet_galleries::settings::Gallery;
use goldfleet_model::ids::ImageName;

use super::super::located::Located;
use super::{encryption_set_problem, first_holder};

/// The largest number of replicas of a version. Source: Azure, azure-compute-gallery, limits.
const MAX_REPLICAS: u32 = 100;

/// An image with the longest name that is valid, to check templates.
const ANY_IMAGE: &str = "image";

/// Returns an error for each fault, in file order.
pub(super) fn check(galleries: &[Located<Gallery>]) -> Vec<Diagnostic> {
    let mut problems = Vec::new();
    let mut named: HashMap<(String, String), &dyn Display> = HashMap::new();
    for placed in galleries {
        let gallery = placed.value();
        let key = (gallery.id().key(), gallery.definition.to_ascii_lowercase());
        if let Some(first) = first_holder(&mut named, key, placed) {
            let message = format!("the gallery {} has this definition already, at {first}: remove one", gallery.name);
            problems.push(placed.problem("name", message));
        }
        names(placed, &mut problems);
        regions(placed, &mut problems);
    }
    problems
}

fn names(placed: &Located<Gallery>, problems: &mut Vec<Diagnostic>) {
    let gallery = placed.value();
    // Source: Azure, naming rules of Microsoft.Compute/galleries.
    if gallery.name.as_str().contains('-') {
        let message =
            format!("{:?} is not the name of a gallery: use letters, digits, '.' and '_'", gallery.name.as_str());
        problems.push(placed.problem("name", message));
    }
    let image: Option<ImageName> = ANY_IMAGE.parse().ok();
    if let Some(Err(error)) = image.map(|image| gallery.definition_of(&image)) {
        problems.push(placed.problem("definition", error.to_string()));
    }
    for (field, text, most) in
        [("publisher", &gallery.publisher, 128), ("offer", &gallery.offer, 64), ("sku", &gallery.sku, 64)]
    {
        if text.is_empty() || text.len() > most {
            problems.push(placed.problem(field, format!("use 1 to {most} characters")));
        }
    }
    for (name, value) in &gallery.features {
        if name.eq_ignore_ascii_case("SecurityType") {
            problems.push(placed.problem("features", "set security_type for the security type".to_owned()));
        }
        if name.is_empty() || value.is_empty() {
            problems.push(placed.problem("features", "a feature has a name and a value".to_owned()));
        }
    }
    if gallery.region_timeout_hours == 0 {
        problems.push(placed.problem("region_timeout_hours", "use at least 1".to_owned()));
    }
}

fn regions(placed: &Located<Gallery>, problems: &mut Vec<Diagnostic>) {
    let gallery = placed.value();
    let mut seen = HashSet::new();
    for region in &gallery.regions {
        if !seen.insert(&region.name) {
            problems.push(placed.problem("regions", format!("{} is named twice: remove one", region.name)));
        }
        if region.replicas == 0 {
            problems.push(placed.problem("regions", format!("{}: use at least 1 replica", region.name)));
        }
        problems.extend(encryption_set_problem(placed, region.disk_encryption_set.as_deref()));
    }
    let replicas = gallery.all_regions().iter().fold(0_u32, |sum, region| sum.saturating_add(region.replicas));
    if replicas > MAX_REPLICAS {
        let message = format!("a version has at most {MAX_REPLICAS} replicas in all regions, found {replicas}");
        problems.push(placed.problem("regions", message));
    }
}
