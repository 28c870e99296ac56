//! Uploaded versions that reach the targets of a region by one golden snapshot.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod cleanup;
mod faults;
mod galleries;
mod lost_disks;
mod rollouts;
mod scene;
