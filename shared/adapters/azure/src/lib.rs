//! The adapters for Azure: Storage Queues, Tables, Blob Storage, Resource Manager.
//!
//! Each call of a port is one HTTP request (reads may be repeated on their way): trying again is decided above, where
//! it is known what a repeated write means. Bearer tokens only; account keys are not used anywhere.

mod arm;
mod blob_store;
mod connection;
mod credential;
mod error;
mod failure;
mod image_plane;
mod inspector;
mod job_table;
mod policies;
mod principal;
mod queue;
mod table;
mod timeout;
mod tokens;

pub use arm::ResourceManager;
pub use blob_store::{AzureBlobs, SasTimes};
pub use connection::{Connection, ConnectionError};
pub use image_plane::AzureImages;
pub use inspector::AzureInspector;
pub use job_table::AzureJobTable;
pub use queue::AzureQueue;
pub use timeout::TimeoutClient;
