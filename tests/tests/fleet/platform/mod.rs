//! Disks, snapshots, images, gallery versions and machines that reach targets by copies that the platform makes.
#![expect(clippy::unwrap_used, reason = "tests")]

mod copies;
mod faults;
mod refusals;
mod retries;
pub(crate) mod scene;
mod sources;
mod version_scene;
