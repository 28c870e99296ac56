//! Making a plan.

use std::collections::BTreeMap;
use std::time::Duration;

use goldfleet_model::ids::Region;
use goldfleet_model::store::Store;
use goldfleet_model::target::Target;
use goldfleet_rates::Rates;

use super::build::PlanBuilder;
use super::content::{Inventory, PlanContent};
use super::planned::{Plan, PlanRequest};

use super::render::time;

/// No tree is fast enough.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error(
    "no plan takes at most {}: the fastest takes {}, of which {} for {} and {} for the image",
    time(*.within), time(.fastest.estimate.time.total), time(.fastest.estimate.time.binds_for),
    .fastest.estimate.time.binds, time(.fastest.estimate.time.image)
)]
pub struct TooSlow {
    /// What was asked for.
    pub within: Duration,
    /// The fastest plan there is.
    pub fastest: Box<Plan>,
}

impl Plan {
    /// The cheapest plan that is fast enough.
    ///
    /// # Errors
    /// [`TooSlow`] where none is.
    pub fn make(asked: &PlanRequest<'_>) -> Result<Self, TooSlow> {
        let sites = PlanBuilder::of(asked);
        let mut cheapest = cheapest_of(&sites);
        let (points, fastest) = sites.pareto_front(&cheapest);
        let Some(within) = asked.within.filter(|within| *within < cheapest.estimate.time.total) else {
            cheapest.points = points;
            return Ok(cheapest);
        };
        let limit = within.saturating_sub(asked.rates.image());
        let found = sites.between.cheapest(Some(limit)).map(|tree| sites.plan(Some(&tree)));
        match found.filter(|plan| plan.estimate.time.total <= within) {
            Some(plan) => Ok(Self { points, ..plan }),
            None => Err(TooSlow { within, fastest: Box::new(Self { points, ..fastest }) }),
        }
    }
}

fn cheapest_of(sites: &PlanBuilder<'_>) -> Plan {
    sites.plan(sites.between.cheapest(None).as_ref())
}

/// The stores that the cheapest plan has for an image of which no store but the source has anything yet, parents before
/// their children, the source first. Which they are depends on the order of `targets`, as it does for [`Plan::make`].
///
/// What lies in stores already, and a time to keep to, can make a plan choose others.
#[must_use]
pub fn stores_of_first_rollout(
    source: &Store,
    targets: &[&Target],
    configured: &BTreeMap<Region, Vec<Store>>,
    rates: &Rates,
) -> Vec<Store> {
    // Prices are per byte: what is cheapest for one size is so for any.
    let (content, inventory) = (PlanContent::synthetic(1 << 30), Inventory::default());
    let asked =
        PlanRequest { source, targets, configured, content: &content, inventory: &inventory, rates, within: None };
    let plan = cheapest_of(&PlanBuilder::of(&asked));
    plan.tree.stores.into_iter().map(|planned| planned.store).collect()
}
