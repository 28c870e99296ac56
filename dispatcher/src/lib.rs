//! The operator's program `goldfleet`.

pub mod cli;
