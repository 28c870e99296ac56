//! goldfleet's worker: it receives messages, leases the operations they point at, runs their steps and settles them.
//!
//! - [`pump`]: takes permits, receives, hands over; drains when asked to stop.
//! - [`claim`]: from a message to a lease, by compare-and-swap on the operation's row.
//! - [`hold`]: a lease in hand: heartbeat, progress, and the signal to stop.
//! - [`settle`]: from a step's outcome to the row, the messages that follow and the message in hand.
//! - [`steps`]: what is done under a lease: seed, copy, image; [`outcome`], [`failed`]: how that ends.
//! - [`program`], [`arguments`]: what the programs that run workers share.
//! - [`availability`], [`detour`], [`manifests`]: what steps share in a process.

pub mod arguments;
pub mod availability;
pub mod claim;
pub mod detour;
pub mod failed;
pub mod hold;
pub mod manifests;
pub mod outcome;
pub mod program;
pub mod pump;
pub mod settings;
pub mod settle;
pub mod steps;
