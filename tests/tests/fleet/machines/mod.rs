//! Clones of virtual machines on the directory cloud, by the real dispatcher and workers.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod clones;
mod commands;
mod faults;
mod images;
mod interference;
mod live;
mod modelled;
mod scene;
mod sources;
