//! The runtime support of programs.
//!
//! - [`telemetry`]: log lines and spans; [`screen`]: log lines above a drawing on a terminal.
//! - [`limiter`]: the number of requests in flight.
//! - [`metrics`], [`health`]: the metrics and the health of a process; [`http`]: the endpoint that serves them.
//! - [`process`]: version, runtime, signals.
//! - [`error_chain`]: an error and its causes in one line.

pub mod error_chain;
pub mod health;
pub mod http;
pub mod limiter;
pub mod listener;
pub mod metrics;
mod otlp;
pub mod process;
pub mod screen;
pub mod telemetry;
