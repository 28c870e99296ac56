//! A job that is followed on a terminal.
//!
//! - [`follow`]: looks at a job until it ends; [`progress`]: shows what it sees.
//! - [`job_view`]: the lines of a job; [`redraw`]: draws them in place; [`color`]: their colours.

pub mod color;
pub mod follow;
pub mod job_view;
pub mod progress;
pub mod redraw;
