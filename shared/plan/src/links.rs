//! The links of a tree: what goes over each, what it costs and how long it takes.

use std::time::Duration;

use goldfleet_model::store::Store;
use goldfleet_model::tree::Tree;
use goldfleet_rates::{Money, Rates};
use serde::Serialize;

use super::content::{Amount, Inventory, PlanContent};
use super::regions::time_for;

/// From one store to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Link {
    /// From this store,
    pub from: Store,
    /// to that one.
    pub to: Store,
    /// Whether it crosses between regions.
    pub wan: bool,
    /// What the store at its end lacks.
    #[serde(flatten)]
    pub missing: Amount,
    /// What that costs.
    #[serde(rename = "egress_usd")]
    pub egress: Money,
    /// How long it takes, alone; between the stores of one region nothing but their accounts holds it up.
    #[serde(rename = "seconds", serialize_with = "seconds")]
    pub time: Duration,
}

fn seconds<S: serde::Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.as_secs_f64())
}

/// The links of a tree, in its order.
pub(super) fn links(tree: &Tree, content: &PlanContent, inventory: &Inventory, rates: &Rates) -> Vec<Link> {
    let link = |(to, from): (&Store, Vec<Store>)| {
        let from = from.into_iter().next()?;
        let missing = inventory.missing(content, &to.container());
        let wan = from.region != to.region;
        let time = if wan { time_for(missing.bytes, rates.wan(&from.region, &to.region)) } else { Duration::ZERO };
        let egress = rates.egress_cost(&from.region, &to.region, missing.bytes);
        Some(Link { from, to: to.clone(), wan, missing, egress, time })
    };
    tree.seeds().filter_map(link).collect()
}
