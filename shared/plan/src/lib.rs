//! Plans: which store fills which, with cost and time. Pure: all input is given as arguments.
//!
//! - [`Plan::make`] computes the cheapest plan that is fast enough. Jobs execute its
//!   [`Tree`](goldfleet_model::tree::Tree).
//! - [`stores_of_first_rollout`] returns the stores of a plan before an image exists.
//! - [`goldfleet_rates::Rates`] contains prices and limits, [`PlanContent`] the content to transfer, and [`Inventory`]
//!   the chunks that stores already have.
//! - `docs/planning.md` explains the algorithm.

mod arborescence;
mod build;
mod content;
pub mod estimate;
mod gallery;
mod links;
mod make;
mod planned;
mod regions;
pub mod render;
mod route;
mod stores;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use content::{Amount, Inventory, PlanContent};
pub use gallery::{GalleryEstimate, GalleryReceiver};
pub use links::Link;
pub use make::{TooSlow, stores_of_first_rollout};
pub use planned::{Plan, PlanRequest, RegionPlan, TradeOff};
pub use route::{RouteEstimate, hub_targets};
