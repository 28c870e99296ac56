//! THE place where adapters are chosen from the configuration.

use std::sync::Arc;

use crate::config::{Cloud, Config, Coordination};
use crate::embedded::{Database, DirectoryBlobs, DirectoryImages, SqliteJobTable, SqliteQueue};
use crate::ports::Ports;
use crate::ports::clock::{Clock, SystemClock};
use crate::ports::error::PortError;

/// Why the configured adapters can't be had.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// This build has no such adapter.
    #[error("[{section}] backend = {backend:?} is not in this version of goldfleet: use {instead:?}")]
    Unsupported {
        /// The section of the configuration.
        section: &'static str,
        /// The backend asked for.
        backend: &'static str,
        /// One that there is.
        instead: &'static str,
    },
    /// It refused, or could not be reached.
    #[error(transparent)]
    Port(#[from] PortError),
}

impl BackendError {
    /// The exit code of a program that ends with this error.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Unsupported { .. } => 2,
            Self::Port(_) => 3,
        }
    }
}

/// Opens the adapters that the configuration names, with the machine's clock.
///
/// # Errors
/// [`BackendError`] where one of them is not to be had.
pub fn open(config: &Config) -> Result<Ports, BackendError> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let root = match &config.cloud {
        Cloud::Directory(directory) => directory.root.clone(),
        Cloud::Azure(_) => return Err(unsupported("cloud", "azure", "directory")),
        Cloud::Modelled(_) => return Err(unsupported("cloud", "modelled", "directory")),
    };
    let database = match &config.coordination {
        Coordination::Embedded(embedded) => Database::open(&embedded.path)?,
        Coordination::Azure(_) => return Err(unsupported("coordination", "azure", "embedded")),
    };
    Ok(Ports {
        queue: Arc::new(SqliteQueue::new(Arc::clone(&database), Arc::clone(&clock))),
        table: Arc::new(SqliteJobTable::new(database)),
        blobs: Arc::new(DirectoryBlobs::new(root.clone(), Arc::clone(&clock))),
        images: Arc::new(DirectoryImages::new(root)),
        clock,
    })
}

fn unsupported(section: &'static str, backend: &'static str, instead: &'static str) -> BackendError {
    BackendError::Unsupported { section, backend, instead }
}
