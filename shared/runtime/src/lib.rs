//! What a program needs while it runs, whatever it does.
//!
//! - [`telemetry`]: log lines and spans; [`screen`]: log lines above what is drawn on a terminal.
//! - [`governor`]: how many requests are in flight.
//! - [`metrics`], [`vitals`]: what a process counts and how it fares; [`listen`]: where it can be asked.
//! - [`process`]: version, runtime, signals.
//! - [`causes`]: an error and its causes in one line.

pub mod causes;
pub mod governor;
pub mod listen;
pub mod metrics;
mod otlp;
pub mod process;
pub mod screen;
pub mod telemetry;
pub mod vitals;
