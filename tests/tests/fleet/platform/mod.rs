//! Disks and snapshots that reach targets by copies that the platform makes.
#![expect(clippy::unwrap_used, reason = "tests")]

mod copies;
mod faults;
mod refusals;
mod retries;
pub(crate) mod scene;
