//! The operator's side of goldfleet: what the program `goldfleet` does.
//!
//! - [`desk`]: ports, configuration and who acts, which all of it works with.
//! - [`setup`], [`doctor`]: what has to be there before anything can be done, made and looked at.
//! - [`upload`]: from a VHD to chunks and a manifest in the source store.
//! - [`request`], [`fanout`]: from a request to a job, its operations and their messages.
//! - [`sweep`], [`service`]: what keeps jobs going and brings them to their end; [`rings`]: which of a job's targets go first.
//! - [`follow`], [`progress`], [`board`], [`redraw`], [`paint`]: a job's way to its end, shown on the terminal.
//! - [`status`], [`approve`], [`retry`], [`cancel`], [`cleanup`], [`collect`] (with [`live`]), [`history`]: what an
//!   operator asks of jobs.
//! - [`holdings`], [`verify`]: where a version is, and whether it is there as it should be.
//! - [`local`]: dispatcher and workers in one process; [`demo`]: all of it, on made-up images.
//! - [`dashboard`]: a page that shows jobs as they run.
//! - [`rehearse`]: a job on a modelled cloud, in virtual time.
//! - [`cli`]: the command line.

pub mod approve;
pub mod board;
pub mod cancel;
pub mod cleanup;
pub mod cli;
pub mod collect;
pub mod dashboard;
pub mod demo;
pub mod desk;
pub mod doctor;
pub mod explain;
pub mod fanout;
pub mod follow;
pub mod history;
pub mod holdings;
pub mod images;
pub mod live;
pub mod local;
pub mod operator;
pub mod paint;
pub mod progress;
pub mod redraw;
mod regions;
pub mod rehearse;
pub mod request;
pub mod retry;
pub mod rings;
pub mod service;
pub mod setup;
pub mod status;
pub mod sweep;
pub mod upload;
pub mod verify;
