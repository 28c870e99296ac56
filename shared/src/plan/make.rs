//! Making a plan.

use std::time::Duration;

use super::planned::{Asked, Plan};
use super::sites::Sites;

/// No tree is fast enough.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error(
    "no plan makes it within {within:?}: the fastest takes {:.0} s, of which {:.0} s for {} and {:.0} s for the image",
    .fastest.estimate.time.total.as_secs_f64(), .fastest.estimate.time.binds_for.as_secs_f64(),
    .fastest.estimate.time.binds, .fastest.estimate.time.image.as_secs_f64()
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
    pub fn make(asked: &Asked<'_>) -> Result<Self, TooSlow> {
        let sites = Sites::of(asked);
        let mut cheapest = sites.plan(sites.between.cheapest(None).as_ref());
        let (points, fastest) = sites.front(&cheapest);
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
