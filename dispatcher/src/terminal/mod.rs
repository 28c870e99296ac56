//! A job that is followed on a terminal.
//!
//! - [`follow`]: looks at a job until it ends; [`progress`]: shows what it sees.
//! - [`board`]: the lines of a job; [`redraw`]: draws them in place; [`paint`]: their colours.

pub mod board;
pub mod follow;
pub mod paint;
pub mod progress;
pub mod redraw;
