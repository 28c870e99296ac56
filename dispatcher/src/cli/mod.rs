//! The commands of `goldfleet`.

pub mod output;
pub mod targets;
