//! The programs as processes of their own.

mod cli;
mod formats;
mod processes;
mod telemetry;
mod terminal;
