//! The programs as processes of their own.

mod cli;
mod processes;
mod telemetry;
mod terminal;
