//! The adapters that need nothing but one machine: they make demonstrations, tests and small fleets possible.

pub mod blob_store;
pub mod image_plane;
