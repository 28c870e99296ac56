//! The conformance suites: the tests that every adapter of a port must pass.

pub mod blob_store;
pub mod clock;
pub mod job_table;
pub mod queue;
pub mod records;
pub mod resources;
