//! The input and the output of the planner.

use std::collections::BTreeMap;
use std::time::Duration;

use goldfleet_model::ids::Region;
use goldfleet_model::store::Store;
use goldfleet_model::target::{Target, TargetKey};
use goldfleet_model::tree::Tree;
use goldfleet_rates::{Money, Rates};
use serde::Serialize;

use super::content::{Inventory, PlanContent};
use super::estimate::{Estimate, Time};
use super::links::Link;

/// The input of the planner.
#[derive(Debug, Clone, Copy)]
pub struct PlanRequest<'a> {
    /// The source store, which has all chunks.
    pub source: &'a Store,
    /// The targets that receive the image.
    pub targets: &'a [&'a Target],
    /// The configured stores. Those of regions without a target can serve as relays.
    pub configured: &'a BTreeMap<Region, Vec<Store>>,
    /// The content to transfer.
    pub content: &'a PlanContent,
    /// The chunks that stores already have.
    pub inventory: &'a Inventory,
    /// Prices, limits and rates.
    pub rates: &'a Rates,
    /// The time limit until the last image. None accepts the time of the cheapest tree.
    pub within: Option<Duration>,
}

/// Which store fills which, which targets read from which store, with cost and time.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Which store fills which.
    pub tree: Tree,
    /// For each target, the index of the store in [`Tree::stores`] that it reads from.
    pub readers: BTreeMap<TargetKey, usize>,
    /// The links of the tree with their load.
    pub links: Vec<Link>,
    /// The regions, in the order of the tree.
    pub regions: Vec<RegionPlan>,
    /// The cost and the time.
    pub estimate: Estimate,
    /// The estimate if every target copies from the single source page blob.
    pub star: Estimate,
    /// The estimate if the source page blob is first copied in the source account, once per target.
    pub pre_copies: Estimate,
    /// The best trade-offs of cost against time, the cheapest first.
    pub points: Vec<TradeOff>,
    /// Notes for the operator.
    pub findings: Vec<String>,
}

/// A region of a plan.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RegionPlan {
    /// The region.
    pub region: Region,
    /// Its continent.
    pub continent: String,
    /// The number of targets in the region.
    pub targets: usize,
    /// The number of stores that serve them.
    pub stores: usize,
    /// Whether the region is a relay.
    pub relay: bool,
    /// The time until its last target has its image.
    pub time: Time,
}

/// A tree for which no other tree is both cheaper and faster.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct TradeOff {
    /// The cost of egress, in US dollars.
    #[serde(rename = "egress_usd")]
    pub egress: Money,
    /// The time to the last image, in seconds.
    pub seconds: f64,
}

impl Plan {
    /// The stores that a target reads from: its planned store and the ancestors of that store up to the source.
    #[must_use]
    pub fn sources_for(&self, target: &Target) -> Vec<Store> {
        match self.readers.get(&target.key()) {
            Some(store) => self.tree.upwards(*store),
            None => self.tree.sources_for(&target.region),
        }
    }
}
