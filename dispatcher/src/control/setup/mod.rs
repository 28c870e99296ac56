//! Setup: creates the missing queues, tables and containers of a fleet.

pub mod register;

use std::collections::BTreeSet;

use futures::stream::{self, StreamExt as _};
use goldfleet_config::Config;
use goldfleet_config::targets::TargetsFile;
use goldfleet_model::store::{Container, Store};
use goldfleet_model::target::Target;
use goldfleet_ports::Ports;
use goldfleet_ports::error::PortError;

use crate::control::context::{ControlError, MAX_IN_FLIGHT};

/// A resource that a fleet needs, and whether it exists now.
#[derive(Debug)]
pub struct SetupResult {
    /// A description of the resource.
    pub what: String,
    /// Why the resource could not be created. None if it exists.
    pub error: Option<PortError>,
}

/// Creates the missing queues, tables, and containers of the source store, of configured stores and of enabled targets.
/// Existing resources are not changed. A failure is reported in the result, and does not prevent the creation of other
/// resources.
///
/// # Errors
/// If the targets file cannot be read.
pub async fn set_up(ports: &Ports, config: &Config) -> Result<Vec<SetupResult>, ControlError> {
    let file = TargetsFile::load(&config.targets.file)?;
    let mut made = vec![
        SetupResult { what: "queues".to_owned(), error: ports.queue.ensure().await.err() },
        SetupResult { what: "tables".to_owned(), error: ports.table.ensure().await.err() },
    ];
    let mut containers = BTreeSet::from([config.source.store().container()]);
    containers.extend(file.stores.iter().map(Store::container));
    containers.extend(file.targets.iter().filter(|target| target.enabled).map(Target::staging));
    let containers = stream::iter(containers).map(async |container: Container| SetupResult {
        what: format!("container {container}"),
        error: ports.blobs.ensure_container(&container).await.err(),
    });
    made.extend(containers.buffered(MAX_IN_FLIGHT).collect::<Vec<_>>().await);
    Ok(made)
}
