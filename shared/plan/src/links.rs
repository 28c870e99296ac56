//! The links of a tree: the load, the cost and the time of each.

use std::time::Duration;

use goldfleet_model::store::Store;
use goldfleet_model::tree::Tree;
use goldfleet_rates::{Money, Rates};
use serde::Serialize;

use super::content::{Amount, Inventory, PlanContent};
use super::regions::time_for;

/// A link from one store to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Link {
    /// The store that sends.
    pub from: Store,
    /// The store that receives.
    pub to: Store,
    /// Whether the link crosses between regions.
    pub wan: bool,
    /// The amount that the receiving store lacks.
    #[serde(flatten)]
    pub missing: Amount,
    /// The cost of the egress.
    #[serde(rename = "egress_usd")]
    pub egress: Money,
    /// The time that the link alone needs. Within a region only the limits of the accounts apply.
    #[serde(rename = "seconds", serialize_with = "seconds")]
    pub time: Duration,
}

fn seconds<S: serde::Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.as_secs_f64())
}

/// The links of a tree, in the order of its stores.
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
