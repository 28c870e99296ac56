//! Kinds of operations: everything that belongs to one kind is in its folder, and [`registry`] lists them.
//!
//! - [`kind`]: the trait that a kind implements.
//! - [`context`]: what steps get: ports, settings, caches, and the lease in hand.
//! - [`messages`]: how operations are announced.
//! - [`outcome`], [`attempt_error`]: how a step ends.
//! - [`transfer`]: moving chunks between stores and VHDs, used by several kinds.
//! - [`seed`], [`copy`], [`image`]: the kinds.
//!
//! To add a kind, write its folder and add one line to [`registry`].

pub mod attempt_error;
pub mod context;
pub mod copy;
pub mod image;
pub mod kind;
pub mod lease;
pub mod messages;
pub mod outcome;
pub mod registry;
pub mod seed;
pub mod transfer;
