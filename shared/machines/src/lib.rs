//! Clones of virtual machines with all their disks. Pure: all input is given as arguments.
//!
//! - [`request`]: what an operator asks for.
//! - [`source`]: the machine and its disks, as the service returns them.
//! - [`plan`] checks the request against the source. The result is refusals, or a plan with notes about what is not
//!   copied.
//! - [`graph`] writes a plan as groups of operations with gates, with the [`body`] of each request.
//! - [`spec`]: what the rows of the kinds `deallocate`, `start` and `machine` contain.

pub mod body;
pub mod graph;
pub mod names;
pub mod plan;
mod refusals;
pub mod request;
pub mod source;
pub mod spec;
#[cfg(test)]
mod tests;
