//! goldfleet's worker: it receives messages, leases the operations they point at, runs their steps and settles them.
//!
//! - [`consumer`]: takes permits, receives, hands over; drains when asked to stop.
//! - [`claim`]: from a message to a lease, by compare-and-swap on the operation's row.
//! - [`lease_guard`]: a lease in hand: heartbeat, progress, and the signal to stop.
//! - [`completion`]: from a step's outcome to the row, the messages that follow and the message in hand.
//! - [`outcome`]: what became of the end of an attempt.
//! - [`context`]: what the parts of a worker share.
//! - [`program`], [`arguments`]: what the programs that run workers share.
//!
//! What is done under a lease is in the crate `goldfleet-kinds`.

pub mod arguments;
pub mod claim;
pub mod completion;
pub mod consumer;
pub mod context;
mod gate_hints;
pub mod lease_guard;
pub mod outcome;
pub mod program;
pub mod settings;
