//! What a program needs while it runs, whatever it does.
//!
//! - [`telemetry`]: log lines and spans; [`screen`]: log lines above what is drawn on a terminal.
//! - [`governor`]: how many requests are in flight.
//! - [`causes`]: an error and its causes in one line.

pub mod causes;
pub mod governor;
mod otlp;
pub mod screen;
pub mod telemetry;
