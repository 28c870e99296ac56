//! Computes a plan.

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
    /// The requested time limit.
    pub within: Duration,
    /// The fastest possible plan.
    pub fastest: Box<Plan>,
}

impl Plan {
    /// Computes the cheapest plan that is fast enough.
    ///
    /// # Errors
    /// [`TooSlow`] if no plan is fast enough.
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

/// Returns the stores of the cheapest plan for an image of which only the source has chunks. Parents precede their
/// children, and the source is first. The choice depends on the order of `targets`, as in [`Plan::make`].
///
/// A later plan can choose other stores because of chunks that stores already have, or because of a time limit.
#[must_use]
pub fn stores_of_first_rollout(
    source: &Store,
    targets: &[&Target],
    configured: &BTreeMap<Region, Vec<Store>>,
    rates: &Rates,
) -> Vec<Store> {
    // Prices are per byte, so the cheapest tree is the same for every size.
    let (content, inventory) = (PlanContent::synthetic(1 << 30), Inventory::default());
    let asked =
        PlanRequest { source, targets, configured, content: &content, inventory: &inventory, rates, within: None };
    let plan = cheapest_of(&PlanBuilder::of(&asked));
    plan.tree.stores.into_iter().map(|planned| planned.store).collect()
}
