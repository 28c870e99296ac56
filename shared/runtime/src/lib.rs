//! What a program needs while it runs, whatever it does.
//!
//! - [`telemetry`]: log lines and spans; [`screen`]: log lines above what is drawn on a terminal.
//! - [`limiter`]: how many requests are in flight.
//! - [`metrics`], [`health`]: what a process counts and how it fares; [`http`]: where it can be asked.
//! - [`process`]: version, runtime, signals.
//! - [`error_chain`]: an error and its causes in one line.

pub mod error_chain;
pub mod health;
pub mod http;
pub mod limiter;
pub mod metrics;
mod otlp;
pub mod process;
pub mod screen;
pub mod telemetry;
