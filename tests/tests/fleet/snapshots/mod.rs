//! Syncs of snapshots: plans of `goldfleet-snapshots`, performed by the real dispatcher and workers.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod commands;
mod copies;
mod directory;
mod faults;
mod interference;
mod listings;
mod locks;
mod many;
mod modelled;
mod plans;
mod reasons;
mod removals;
pub(crate) mod scene;
pub(crate) mod workers;
