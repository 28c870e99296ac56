//! The programs as separate processes.

mod cli;
mod damaged_rows;
mod data_disks;
mod formats;
mod operators;
mod processes;
mod region;
mod systems;
mod telemetry;
mod terminal;
