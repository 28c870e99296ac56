//! The programs as separate processes.

mod cli;
mod data_disks;
mod formats;
mod processes;
mod systems;
mod telemetry;
mod terminal;
