//! Plans as SVG: a tree of regions from left to right.

use std::fmt::Write as _;

use goldfleet_model::ids::Region;
use goldfleet_model::text::pluralize;

use super::{bytes, time};
use crate::{Link, Plan, RegionPlan};

const BOX: (usize, usize) = (190, 44);
const COLUMN: usize = 330;
const ROW: usize = 58;
const MARGIN: usize = 16;

/// Colours for light and dark schemes. The text keeps its size if the picture is scaled down.
const STYLE: &str = "\
svg { color-scheme: light dark; background: #fff; font: 12px system-ui, sans-serif }
rect { fill: #f3f6fb; stroke: #5b7db1 }
rect.source { fill: #dce9fb; stroke-width: 2 }
rect.relay { stroke-dasharray: 4 3 }
path { fill: none; stroke: #8a94a3; stroke-width: 1.5 }
text { fill: #1c2430 }
.name { font-weight: 600 }
.small { fill: #56606e; font-size: 11px }
@media (prefers-color-scheme: dark) {
svg { background: #14181f }
rect { fill: #1f2733; stroke: #6f93c9 }
rect.source { fill: #243a5a }
path { stroke: #69737f }
text { fill: #e6eaf0 }
.small { fill: #a7b0bc }
}";

/// The position of a region in the picture.
struct NodeLayout<'a> {
    region: &'a RegionPlan,
    parent: Option<usize>,
    column: usize,
    /// Twice the row number, so that a parent can be placed between two rows.
    half_rows: usize,
}

/// The tree of regions, with the bytes and the cost of each link.
#[must_use]
pub fn svg(plan: &Plan) -> String {
    let placed = layout(plan);
    let columns = placed.iter().map(|placed| placed.column).max().unwrap_or(0);
    let rows = placed.iter().map(|placed| placed.half_rows).max().unwrap_or(0);
    let (width, height) = (columns * COLUMN + BOX.0 + 2 * MARGIN, rows * ROW / 2 + BOX.1 + 2 * MARGIN);
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
         height=\"{height}\" role=\"img\">\n<title>{}</title>\n<style>{STYLE}</style>\n",
        escaped(&title(plan))
    );
    for one in &placed {
        if let Some(parent) = one.parent.and_then(|parent| placed.get(parent)) {
            text += &edge(plan, parent, one);
        }
    }
    for one in &placed {
        text += &node(one);
    }
    text + "</svg>\n"
}

fn title(plan: &Plan) -> String {
    let estimate = &plan.estimate;
    format!(
        "{} over the WAN, {} of egress, {} to the last image",
        bytes(estimate.wan_bytes),
        estimate.cost.egress,
        time(estimate.time.total)
    )
}

/// The regions in the order of the tree, in which parents precede their children. Each leaf occupies one row.
fn layout(plan: &Plan) -> Vec<NodeLayout<'_>> {
    let index = |region: &Region| plan.regions.iter().position(|planned| planned.region == *region);
    let mut placed: Vec<NodeLayout<'_>> = Vec::new();
    for region in &plan.regions {
        let link = plan.links.iter().find(|link| link.wan && link.to.region == region.region);
        let parent = link.and_then(|link| index(&link.from.region));
        let column = parent.and_then(|parent| placed.get(parent)).map_or(0, |parent| parent.column + 1);
        placed.push(NodeLayout { region, parent, column, half_rows: 0 });
    }
    let mut next = 0;
    assign_rows(&mut placed, 0, &mut next);
    placed
}

fn assign_rows(placed: &mut [NodeLayout<'_>], at: usize, next: &mut usize) {
    let children: Vec<usize> = (0..placed.len()).filter(|index| placed[*index].parent == Some(at)).collect();
    for child in &children {
        assign_rows(placed, *child, next);
    }
    let half_rows = match (children.first(), children.last()) {
        (Some(first), Some(last)) => usize::midpoint(placed[*first].half_rows, placed[*last].half_rows),
        _ => {
            let row = *next;
            *next += 2;
            row
        }
    };
    if let Some(one) = placed.get_mut(at) {
        one.half_rows = half_rows;
    }
}

fn corner(placed: &NodeLayout<'_>) -> (usize, usize) {
    (MARGIN + placed.column * COLUMN, MARGIN + placed.half_rows * ROW / 2)
}

fn edge(plan: &Plan, parent: &NodeLayout<'_>, child: &NodeLayout<'_>) -> String {
    let ((from_x, from_y), (to_x, to_y)) = (corner(parent), corner(child));
    let (from_x, from_y, to_y) = (from_x + BOX.0, from_y + BOX.1 / 2, to_y + BOX.1 / 2);
    let bend = from_x + 24;
    let link = plan.links.iter().find(|link| link.wan && link.to.region == child.region.region);
    let label = link.map_or_else(String::new, link_label);
    format!(
        "<path d=\"M{from_x} {from_y}C{bend} {from_y} {from_x} {to_y} {bend} {to_y}H{to_x}\"/>\n\
         <text class=\"small\" x=\"{}\" y=\"{}\">{}</text>\n",
        bend + 6,
        to_y - 5,
        escaped(&label)
    )
}

fn link_label(link: &Link) -> String {
    match link.missing.bytes {
        0 => "has all of it".to_owned(),
        missing => format!("{}, {}", bytes(missing.into()), link.egress),
    }
}

fn node(placed: &NodeLayout<'_>) -> String {
    let (x, y) = corner(placed);
    let RegionPlan { region, targets, stores, relay, .. } = placed.region;
    let class = match (placed.parent, relay) {
        (None, _) => " class=\"source\"",
        (_, true) => " class=\"relay\"",
        _ => "",
    };
    let role = match (placed.parent, relay) {
        (_, true) => "a relay".to_owned(),
        (None, _) => format!("source, {}", pluralize(*targets, "target")),
        _ => pluralize(*targets, "target"),
    };
    let more = if *stores > 1 { format!(", {}", pluralize(*stores, "store")) } else { String::new() };
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = writeln!(
        text,
        "<rect{class} x=\"{x}\" y=\"{y}\" width=\"{}\" height=\"{}\" rx=\"6\"/>\n\
         <text class=\"name\" x=\"{}\" y=\"{}\">{}</text>\n<text class=\"small\" x=\"{}\" y=\"{}\">{}</text>",
        BOX.0,
        BOX.1,
        x + 10,
        y + 19,
        escaped(region.as_str()),
        x + 10,
        y + 35,
        escaped(&format!("{role}{more}")),
    );
    text
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
