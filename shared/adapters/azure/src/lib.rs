//! The adapters for Azure: Storage Queues, Tables, Blob Storage, Resource Manager.
//!
//! Each call of a port is one HTTP request. Only reads may be repeated in this crate: the callers decide about other
//! retries, because they know whether a write can be repeated safely. All requests use bearer tokens; account keys are
//! not supported.

mod arm;
mod blob_store;
mod connection;
mod credential;
mod error;
mod failure;
mod inspector;
mod job_table;
mod policies;
mod principal;
mod providers;
mod queue;
mod resources;
mod set_up;
mod table;
mod timeout;
mod tokens;

pub use arm::ResourceManager;
pub use blob_store::{AzureBlobs, SasTimes};
pub use connection::{Connection, ConnectionError};
pub use inspector::AzureInspector;
pub use job_table::AzureJobTable;
pub use providers::AzureProviders;
pub use queue::AzureQueue;
pub use resources::{AzureDiskPages, AzureResources};
pub use timeout::TimeoutClient;
