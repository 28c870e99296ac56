//! The rules of the engine that worker and dispatcher share. They change rows; who sends messages is the caller.
//!
//! - [`expire`]: what the end of a lease means to an operation.
//! - [`release`]: what the end of an operation means to the rest of its group.

pub mod expire;
pub mod release;
