//! The double of Azure Resource Manager does what it says, as seen by an ordinary HTTPS client.
//!
//! - `images`: making, changing and removing images.
//! - `operations`: how long operations are followed, and end.
//! - `refusals`: tokens, versions, bodies, rights, policies and locks.
//! - `lists`: subscriptions, groups, accounts, providers, permissions, roles and locks.
//! - `traffic`: throttling, faults and counters.

#![expect(clippy::unwrap_used, reason = "tests report by panicking")]

mod fixture;
mod images;
mod lists;
mod operations;
mod refusals;
mod traffic;
