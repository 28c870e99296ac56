//! goldfleet's worker: it receives messages, leases the operations they point at, runs their steps and settles them.
//!
//! - [`consumer`]: takes permits, receives, hands over; drains when asked to stop.
//! - [`claim`]: from a message to a lease, by compare-and-swap on the operation's row.
//! - [`lease_guard`]: a lease in hand: heartbeat, progress, and the signal to stop.
//! - [`completion`]: from a step's outcome to the row, the messages that follow and the message in hand.
//! - [`steps`]: what is done under a lease: seed, copy, image; [`outcome`], [`attempt_error`]: how that ends.
//! - [`program`], [`arguments`]: what the programs that run workers share.
//! - [`availability`], [`failover`], [`manifest_cache`]: what steps share in a process.

pub mod arguments;
pub mod attempt_error;
pub mod availability;
pub mod claim;
pub mod completion;
pub mod consumer;
pub mod failover;
pub mod lease_guard;
pub mod manifest_cache;
pub mod outcome;
pub mod program;
pub mod settings;
pub mod steps;
