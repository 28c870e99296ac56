//! Routes: how the bytes of a version get to targets, as a graph of operations. One file a route.
//!
//! A route yields groups one by one, so that a plan of any size needs no list of all its rows.

pub mod staging;
