//! The adapters that need only one machine: queues and tables in a SQLite file, blobs and resources in directories.
//! They are used for demonstrations, tests and small fleets.

pub mod blob_store;
mod blocking;
pub mod job_table;
mod links;
pub mod liveness;
mod lock_holder;
pub mod queue;
pub mod resources;
pub mod sqlite;

pub use blob_store::DirectoryBlobs;
pub use job_table::SqliteJobTable;
pub use liveness::ProcessLocks;
pub use queue::SqliteQueue;
pub use resources::DirectoryResources;
pub use sqlite::{Database, LockTimeouts};
