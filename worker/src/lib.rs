//! The worker of goldfleet: it receives messages, leases their operations, runs the steps, and completes the attempts.
//!
//! - [`consumer`]: takes permits, receives messages, starts attempts, and drains when it is asked to stop.
//! - [`claim`]: claims the operation of a message by compare-and-swap on its row.
//! - [`lease_guard`]: holds a lease: heartbeat, progress, and the stop signal.
//! - [`completion`]: writes the result of a step, sends the messages that follow, and deletes, delays or dead-letters
//!   the received message.
//! - [`outcome`]: the result of a completion.
//! - [`context`]: the context that the parts of a worker share.
//! - [`program`], [`arguments`]: the common code of the programs that run workers.
//!
//! The steps that run under a lease are in the crate `goldfleet-kinds`.

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
