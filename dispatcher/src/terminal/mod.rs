//! Shows a job on a terminal.
//!
//! - [`follow`]: reads a job until it ends; [`progress`]: shows its progress.
//! - [`job_view`]: the lines of a job; [`redraw`]: draws them in place; [`color`]: their colours.

pub mod color;
pub mod follow;
pub mod job_view;
pub mod progress;
pub mod redraw;
