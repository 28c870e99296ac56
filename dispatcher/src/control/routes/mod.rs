//! Routes: how the bytes of a version reach targets, as a graph of operations. One file per route.
//!
//! A route yields groups one by one, so that a large plan needs no list of all its rows.

pub mod snapshots;
pub mod staging;
