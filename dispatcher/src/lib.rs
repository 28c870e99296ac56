//! The operator's side of goldfleet: what the program `goldfleet` does.
//!
//! - [`upload`]: from a VHD to chunks and a manifest in the source store.
//! - [`request`], [`fanout`]: from a request to a job, its operations and their messages.
//! - [`sweep`], [`service`]: what keeps jobs going and brings them to their end.
//! - [`status`], [`retry`], [`cancel`], [`cleanup`], [`collect`]: what an operator asks of jobs.
//! - [`local`]: dispatcher and workers in one process; [`demo`]: all of it, on made-up images.
//! - [`rehearse`]: a job on a modelled cloud, in virtual time.
//! - [`cli`]: the command line.

pub mod cancel;
pub mod cleanup;
pub mod cli;
pub mod collect;
pub mod demo;
pub mod desk;
pub mod fanout;
pub mod follow;
pub mod local;
pub mod rehearse;
pub mod request;
pub mod retry;
pub mod service;
pub mod status;
pub mod sweep;
pub mod upload;
