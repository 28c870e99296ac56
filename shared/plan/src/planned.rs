//! What a plan is made for, and what it says.

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

/// What a plan is made for.
#[derive(Debug, Clone, Copy)]
pub struct PlanRequest<'a> {
    /// The store that has everything.
    pub source: &'a Store,
    /// The targets that are to get the image.
    pub targets: &'a [&'a Target],
    /// The stores that are set by hand. Those of regions without a target may serve as relays.
    pub configured: &'a BTreeMap<Region, Vec<Store>>,
    /// What is to be moved.
    pub content: &'a PlanContent,
    /// What lies in stores already.
    pub inventory: &'a Inventory,
    /// Prices, limits and rates.
    pub rates: &'a Rates,
    /// How long it may take to the last image; as long as the cheapest tree takes, where nothing is said.
    pub within: Option<Duration>,
}

/// Which store fills which, who reads from which, and what that costs and takes.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Which store fills which.
    pub tree: Tree,
    /// Which of the tree's stores each target reads from.
    pub readers: BTreeMap<TargetKey, usize>,
    /// What goes over each link of the tree.
    pub links: Vec<Link>,
    /// The regions, in the tree's order.
    pub regions: Vec<RegionPlan>,
    /// What it costs and takes.
    pub estimate: Estimate,
    /// The same for every target from the one source page blob.
    pub star: Estimate,
    /// The same for a copy for each target in the source account, then every target.
    pub pre_copies: Estimate,
    /// The best points of cost against time, the cheapest first.
    pub points: Vec<TradeOff>,
    /// What an operator should know.
    pub findings: Vec<String>,
}

/// A region of a plan.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RegionPlan {
    /// The region.
    pub region: Region,
    /// Its continent.
    pub continent: String,
    /// How many targets it has.
    pub targets: usize,
    /// How many stores feed them.
    pub stores: usize,
    /// Whether it only passes chunks on.
    pub relay: bool,
    /// When its last target has its image.
    pub time: Time,
}

/// A tree that no other is both cheaper and faster than.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct TradeOff {
    /// What leaves regions, in dollars.
    #[serde(rename = "egress_usd")]
    pub egress: Money,
    /// Seconds to the last image.
    pub seconds: f64,
}

impl Plan {
    /// Where a target reads from: the store that is planned for it, then those that fill it, up to the source.
    #[must_use]
    pub fn sources_for(&self, target: &Target) -> Vec<Store> {
        match self.readers.get(&target.key()) {
            Some(store) => self.tree.upwards(*store),
            None => self.tree.sources_for(&target.region),
        }
    }
}
