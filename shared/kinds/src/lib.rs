//! Kinds of operations. Each kind has its own folder, and [`registry`] lists them.
//!
//! - [`kind`]: the trait that a kind implements.
//! - [`context`]: the inputs of steps: ports, settings, caches, and the lease.
//! - [`messages`]: the messages of operations.
//! - [`outcome`], [`attempt_error`]: the results of steps.
//! - [`transfer`]: moves chunks between stores and VHDs for several kinds.
//! - `access`: access to the content of disks and snapshots for several kinds.
//! - `change`: changes of resources for several kinds.
//! - `creation`: resources that a row creates once and never updates, for several kinds.
//! - `power`, `downtime`: the power state of machines, and the limit of the time for which a job stops one.
//! - [`writers`]: the records of those who write chunks to a store.
//! - [`seed`], [`copy`], [`hub`], [`export`], [`image`], [`snapshot`], [`disk`], [`gallery`], [`publish`], [`lock`],
//!   [`remove`], [`deallocate`],
//!   [`start`], [`restore`], [`machine`], [`capture`]: the kinds.
//!
//! To add a kind, write its folder and add one line to [`registry`].

mod access;
pub mod attempt_error;
pub mod capture;
mod change;
pub mod context;
pub mod copy;
mod creation;
pub mod deallocate;
pub mod disk;
mod downtime;
pub mod export;
pub mod gallery;
pub mod hub;
pub mod image;
pub mod kind;
pub mod lease;
pub mod lock;
pub mod machine;
pub mod messages;
pub mod outcome;
mod power;
pub mod publish;
pub mod registry;
pub mod remove;
pub mod restore;
pub mod seed;
mod sink;
pub mod snapshot;
pub mod start;
pub mod transfer;
pub mod writers;
