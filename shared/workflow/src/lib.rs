//! The rules of the engine, once for workers and dispatchers. They decide changes to rows; the caller commits them and
//! sends the messages. No rule names a kind of operation.
//!
//! - [`group`]: a change to the rows of one group, in one commit.
//! - [`chain`]: what the end of a row means for the rows after it in its group.
//! - [`gates`]: what the end of rows means for rows of other groups.
//! - [`retry`]: which rows of a group run again.
//! - [`expire`]: what the end of a lease means.
//! - [`validate`]: what a planner must keep to.

pub mod chain;
pub mod expire;
pub mod gates;
pub mod group;
pub mod retry;
pub mod validate;
