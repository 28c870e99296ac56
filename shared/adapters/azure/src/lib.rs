//! The adapters for Azure: Storage Queues, Tables, Blob Storage, Resource Manager.
//!
//! Each call of a port is one HTTP request (reads may be repeated on their way): trying again is decided above, where
//! it is known what a repeated write means. Bearer tokens only; account keys are not used anywhere.

mod arm;
mod blob_store;
mod connection;
mod credential;
mod error;
mod image_plane;
mod inspector;
mod job_table;
mod patience;
mod policies;
mod principal;
mod queue;
mod table;
mod tokens;

pub use arm::Arm;
pub use blob_store::{AzureBlobs, SasTimes};
pub use connection::{Connection, ConnectionError};
pub use image_plane::AzureImages;
pub use inspector::AzureInspector;
pub use job_table::AzureJobTable;
pub use patience::Patient;
pub use queue::AzureQueue;
