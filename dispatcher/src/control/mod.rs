//! What is done to jobs, images and stores, without a terminal.
//!
//! - [`context`]: ports, configuration and the actor, which all of it works with.
//! - [`setup`], [`doctor`]: what must exist before anything can be done: created and checked.
//! - [`check`]: the check of a disk image and of the operating system inside.
//! - [`upload`]: from a VHD to chunks and a manifest in the source store.
//! - [`request`], [`fan_out`]: from a request to a job, its operations and their messages.
//! - [`reconcile`], [`service`]: the reconciler and the loop that runs it; [`rings`]: which targets of a job go first.
//! - [`status`], [`approve`], [`retry`], [`cancel`], [`cleanup`], [`garbage_collection`] (with [`live`]), [`retention`]: what an operator asks of jobs.
//! - [`store_inventory`], [`verify`]: where a version is, and whether it is intact.
//! - [`images`]: which versions are uploaded; [`explain`]: what failure codes mean; [`operator`]: who runs a command;
//!   [`suggest`]: command lines in messages.
//! - [`local`]: dispatcher and workers in one process.

pub mod approve;
pub mod cancel;
pub mod check;
pub mod cleanup;
pub mod context;
pub mod doctor;
pub mod explain;
pub mod fan_out;
pub mod garbage_collection;
pub mod images;
pub mod live;
pub mod local;
pub mod operator;
pub mod reconcile;
pub mod request;
pub mod retention;
pub mod retry;
pub mod rings;
pub mod routes;
pub(crate) mod sample_regions;
pub mod service;
pub mod setup;
pub mod status;
pub mod store_inventory;
pub mod suggest;
pub mod upload;
pub mod verify;
