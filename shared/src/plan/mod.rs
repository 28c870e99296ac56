//! Plans: which store fills which, and which operations a job has. Pure: everything they need is given to them.

pub mod tree;

pub use tree::{PlannedStore, Tree};
