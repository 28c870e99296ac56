//! Plans as text: a tree, and the rows of a table.

use std::fmt::Write as _;
use std::time::Duration;

use super::{bytes, time};
use crate::estimate::Estimate;
use crate::{GalleryEstimate, Link, Plan, RouteEstimate};

/// The tree with one line per store, with the load and the cost of each link.
#[must_use]
pub fn tree(plan: &Plan) -> String {
    let Some(source) = plan.tree.stores.first() else { return String::new() };
    let mut text = format!("{}  the source{}\n", source.store, readers(plan, 0));
    branches(plan, 0, "", &mut text);
    text
}

fn branches(plan: &Plan, parent: usize, indent: &str, text: &mut String) {
    let children: Vec<usize> =
        (0..plan.tree.stores.len()).filter(|index| plan.tree.stores[*index].parent == Some(parent)).collect();
    for (n, &child) in children.iter().enumerate() {
        let last = n + 1 == children.len();
        let (branch, below) = if last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        let store = &plan.tree.stores[child].store;
        let link = plan.links.iter().find(|link| link.to == *store).map_or_else(String::new, link_text);
        // Writing to a string does not fail.
        let _ = writeln!(text, "{indent}{branch}{store}  {link}{}", readers(plan, child));
        branches(plan, child, &format!("{indent}{below}"), text);
    }
}

/// The load and the cost of a link.
fn link_text(link: &Link) -> String {
    if link.missing.bytes == 0 {
        return "has all of it".to_owned();
    }
    let bytes = bytes(link.missing.bytes.into());
    if link.wan { format!("{bytes}, {}, {}", link.egress, time(link.time)) } else { bytes }
}

/// The readers of a store.
fn readers(plan: &Plan, store: usize) -> String {
    let count = plan.readers.values().filter(|index| **index == store).count();
    let region = &plan.tree.stores[store].store.region;
    let relay = plan.regions.iter().any(|planned| planned.region == *region && planned.relay);
    match count {
        0 if relay => "; a relay".to_owned(),
        0 => String::new(),
        1 => "; 1 target".to_owned(),
        count => format!("; {count} targets"),
    }
}

/// The header of [`estimates`].
pub const ESTIMATES: [&str; 7] = ["", "over the WAN", "egress", "requests", "storage", "time", "slowest limit"];

/// One row each for the plan and the alternatives without a plan: bytes, cost, time, and the binding limit.
#[must_use]
pub fn estimates(plan: &Plan) -> Vec<[String; 7]> {
    let row = |name: &str, estimate: &Estimate| {
        let Estimate { wan_bytes, cost, time: taken } = estimate;
        let binds = format!("{}, {}", taken.binds, time(taken.binds_for));
        let money = [cost.egress, cost.requests, cost.storage].map(|part| part.to_string());
        let [egress, requests, storage] = money;
        [name.to_owned(), bytes(*wan_bytes), egress, requests, storage, time(taken.total), binds]
    };
    vec![
        row("this plan", &plan.estimate),
        row("every target from one source", &plan.star),
        row("pre-copies, then every target", &plan.pre_copies),
    ]
}

/// The header of [`routes`].
pub const ROUTES: [&str; 8] =
    ["route", "page writes", "management writes", "over the WAN", "egress", "requests", "storage", "time"];

/// One row per route.
#[must_use]
pub fn routes(routes: &[RouteEstimate]) -> Vec<[String; 8]> {
    let row = |route: &RouteEstimate| {
        let Estimate { wan_bytes, cost, time: taken } = &route.estimate;
        let [egress, requests, storage] = [cost.egress, cost.requests, cost.storage].map(|part| part.to_string());
        let (pages, management) = (route.page_writes.to_string(), route.management_writes.to_string());
        [route.route.to_owned(), pages, management, bytes(*wan_bytes), egress, requests, storage, time(taken.total)]
    };
    routes.iter().map(row).collect()
}

/// The header of [`galleries`].
pub const GALLERIES: [&str; 7] =
    ["gallery", "regions", "replicas", "management writes", "egress", "storage", "ready in all regions"];

/// One row per gallery.
#[must_use]
pub fn galleries(galleries: &[GalleryEstimate]) -> Vec<[String; 7]> {
    let row = |gallery: &GalleryEstimate| {
        let GalleryEstimate { regions, replicas, management_writes, egress, storage, .. } = gallery;
        [
            gallery.gallery.clone(),
            regions.to_string(),
            replicas.to_string(),
            management_writes.to_string(),
            egress.to_string(),
            storage.to_string(),
            time(gallery.time),
        ]
    };
    galleries.iter().map(row).collect()
}

/// One sentence per trade-off of cost against time. Empty if no tree is faster than the cheapest.
#[must_use]
pub fn points(plan: &Plan) -> Vec<String> {
    if plan.points.len() < 2 {
        return Vec::new();
    }
    let line = |point: &crate::TradeOff| {
        let seconds = Duration::try_from_secs_f64(point.seconds).unwrap_or(Duration::MAX);
        format!("{} of egress: {}", point.egress, time(seconds))
    };
    plan.points.iter().map(line).collect()
}
