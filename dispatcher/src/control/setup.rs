//! Setting up: the queues, tables and containers that a fleet needs, made where they are missing.

use std::collections::BTreeSet;

use futures::stream::{self, StreamExt as _};
use goldfleet_config::targets::TargetsFile;
use goldfleet_model::store::{Container, Store};
use goldfleet_model::target::Target;
use goldfleet_ports::error::PortError;

use crate::control::context::{ControlContext, ControlError, MAX_IN_FLIGHT};

/// A thing that a fleet needs, and whether it is there now.
#[derive(Debug)]
pub struct SetupResult {
    /// What it is, in words.
    pub what: String,
    /// Why it could not be made, if it could not.
    pub error: Option<PortError>,
}

/// Makes what is missing: queues, tables, the containers of the source, of stores set by hand, and of enabled targets.
/// What is there is left as it is. What can't be made is told in the result, and does not keep the rest from being made.
///
/// # Errors
/// Where the targets file can't be read.
pub async fn set_up(control: &ControlContext) -> Result<Vec<SetupResult>, ControlError> {
    let file = TargetsFile::load(&control.config.targets.file)?;
    let mut made = vec![
        SetupResult { what: "queues".to_owned(), error: control.ports.queue.ensure().await.err() },
        SetupResult { what: "tables".to_owned(), error: control.ports.table.ensure().await.err() },
    ];
    let mut containers = BTreeSet::from([control.config.source.store().container()]);
    containers.extend(file.stores.iter().map(Store::container));
    containers.extend(file.targets.iter().filter(|target| target.enabled).map(Target::staging));
    let containers = stream::iter(containers).map(async |container: Container| SetupResult {
        what: format!("container {container}"),
        error: control.ports.blobs.ensure_container(&container).await.err(),
    });
    made.extend(containers.buffered(MAX_IN_FLIGHT).collect::<Vec<_>>().await);
    Ok(made)
}
