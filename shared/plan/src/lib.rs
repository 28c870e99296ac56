//! Plans: which store fills which, and what that costs and takes. Pure: everything they need is given to them.
//!
//! - [`Plan::make`] makes the cheapest plan that is fast enough; its [`Tree`](goldfleet_model::tree::Tree) is what of it is carried out.
//! - [`stores_of_first_rollout`] tells the stores of a plan before there is an image.
//! - [`goldfleet_rates::Rates`] are the prices and limits, [`PlanContent`] and [`Inventory`] what is to be moved and what is there already.
//! - `docs/planning.md` explains it.

mod arborescence;
mod build;
mod content;
pub mod estimate;
mod links;
mod make;
mod planned;
mod regions;
pub mod render;
mod stores;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use content::{Amount, Inventory, PlanContent};
pub use links::Link;
pub use make::{TooSlow, stores_of_first_rollout};
pub use planned::{Plan, PlanRequest, RegionPlan, TradeOff};
