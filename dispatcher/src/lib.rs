//! The operator's side of goldfleet: what the program `goldfleet` does.
//!
//! - [`control`]: what is done to jobs, images and stores, without a terminal.
//! - [`terminal`]: a job that is followed on a terminal.
//! - [`simulate`]: jobs on a cloud of this machine or of this process: the demonstration and the rehearsal.
//! - [`dashboard`]: a page that shows jobs while they run.
//! - [`cli`]: the command line.
//!
//! A module uses only modules that stand above it in this list.

pub mod cli;
pub mod control;
pub mod dashboard;
pub mod simulate;
pub mod terminal;
