//! Disks and snapshots that reach targets by copies that the platform makes.

mod copies;
mod faults;
mod refusals;
mod retries;
mod scene;
