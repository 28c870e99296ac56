//! The programs as separate processes.

mod cli;
mod formats;
mod processes;
mod systems;
mod telemetry;
mod terminal;
