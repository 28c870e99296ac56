//! How an image version reaches targets by copies that the platform makes of its disks. Pure: all input is given as
//! arguments.
//!
//! - [`source`]: a disk that is copied, as the service returns it.
//! - [`plan`] says what is copied to where, and what is refused.
//! - [`graph`] writes a plan as groups of operations with gates, with the [`body`] of each request.

pub mod body;
mod disk_graph;
pub mod graph;
pub mod plan;
mod refusals;
pub mod region;
mod region_body;
pub mod region_graph;
mod rows;
pub mod source;
#[cfg(test)]
mod tests;
