//! The implementation of the program `goldfleet`, which operators use.
//!
//! - [`control`]: operations on jobs, images and stores, independent of a terminal.
//! - [`terminal`]: shows a job on a terminal until it ends.
//! - [`simulate`]: jobs without Azure: the demonstration and the rehearsal.
//! - [`dashboard`]: a web page that shows running jobs.
//! - [`cli`]: the command line.
//!
//! A module uses only modules that come before it in this list.

pub mod cli;
pub mod control;
pub mod dashboard;
pub mod simulate;
pub mod terminal;
