//! The rules of the engine, shared by workers and dispatchers. They decide changes to rows; the caller commits them and
//! sends the messages. No rule names a kind of operation.
//!
//! - [`group`]: a change to the rows of one group, in one commit.
//! - [`chain`]: the effect of the end of a row on later rows of its group.
//! - [`gates`]: the effect of the end of rows on rows of other groups.
//! - [`retry`]: which rows of a group run again.
//! - [`expire`]: the effect of an expired lease.
//! - [`validate`]: the rules that a planner must follow.

pub mod chain;
pub mod expire;
pub mod gates;
pub mod group;
pub mod retry;
pub mod validate;
