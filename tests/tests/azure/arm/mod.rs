//! The double of Azure Resource Manager behaves as documented, as seen by an ordinary HTTPS client.
//!
//! - `disks`: creating and copying disks and snapshots, and access to them.
//! - `images`: creating, changing and deleting images.
//! - `operations`: the polling and the results of operations.
//! - `refusals`: tokens, versions, bodies, permissions, policies and locks.
//! - `lists`: subscriptions, groups, accounts, providers, permissions, roles and locks.
//! - `traffic`: throttling, faults and counters.

#![expect(clippy::unwrap_used, reason = "tests report by panicking")]

mod copies;
mod disks;
mod fixture;
mod images;
mod lists;
mod operations;
mod refusals;
mod traffic;
