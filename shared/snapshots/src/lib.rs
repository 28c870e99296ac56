//! Snapshots: which ones a sync copies, keeps and deletes. Pure: all input is given as arguments.
//!
//! - [`listing`] and [`snapshot`] read what the service returns.
//! - [`rules`] and [`select`] say what a sync does, [`measured`] what a probe found the platform to do.
//! - [`difference`] compares source and destinations. Its result is a [`plan`], and the [`state`] for the next run.
//! - [`graph`] writes a plan as groups of operations with gates, with the [`body`] of each request.
//! - [`replica`] and [`remove`] decide at each step of an operation, from what the service returns at that moment.
//! - [`names`] and [`tags`] identify what goldfleet creates.

pub mod body;
pub mod difference;
mod export;
pub mod graph;
pub mod id;
pub mod listing;
pub mod measured;
pub mod names;
pub mod plan;
pub mod remove;
pub mod replica;
pub mod rules;
pub mod select;
pub mod snapshot;
pub mod state;
pub mod tags;
#[cfg(test)]
mod tests;
