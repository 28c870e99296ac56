//! The programs as separate processes.

mod cli;
mod formats;
mod processes;
mod telemetry;
mod terminal;
