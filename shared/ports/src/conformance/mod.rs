//! What every adapter of a port must do, as suites that run against any of them.

pub mod blob_store;
pub mod clock;
pub mod image_plane;
pub mod job_table;
pub mod queue;
