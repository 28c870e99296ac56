//! The kind `snapshot`: creates the replica of a snapshot, or another snapshot such as a temporary one.

mod copy;

use async_trait::async_trait;
use goldfleet_model::message::QueueName;
use goldfleet_model::operation::Operation;
use goldfleet_ports::Ports;
use goldfleet_ports::error::{PortError, PortResult};
use goldfleet_ports::resources::{Provisioning, Resource};
use goldfleet_snapshots::graph::RowSpec;
use goldfleet_snapshots::id::SnapshotId;
use goldfleet_snapshots::replica;
use goldfleet_snapshots::snapshot::Snapshot as Found;
use goldfleet_snapshots::tags::Role;

use crate::attempt_error::AttemptError;
use crate::change::read_id;
use crate::context::{Attempt, read_row};
use crate::kind::{Kind, Probe};
use crate::outcome::{StepError, StepOutcome};
use crate::{disk, hub, sink};

/// The code of a copy whose temporary source does not exist.
pub(crate) const TEMPORARY_MISSING: &str = "temporary-missing";

/// The newest version of its specification: replicas of exported sources.
const NEWEST: u16 = 2;

/// The kind `snapshot`. Its specification is [`RowSpec::Copy`], [`RowSpec::Create`], [`RowSpec::Sink`] or
/// [`RowSpec::Golden`].
pub struct Snapshot;

#[async_trait]
impl Kind for Snapshot {
    fn id(&self) -> &'static str {
        "snapshot"
    }

    fn spec_version(&self) -> u16 {
        NEWEST
    }

    fn queue(&self) -> QueueName {
        QueueName::Image
    }

    fn title(&self) -> &'static str {
        "Snapshots copied"
    }

    fn produces(&self, operation: &Operation) -> Option<String> {
        match read_row(operation, NEWEST).ok()? {
            RowSpec::Copy(spec) => Some(spec.id.name),
            RowSpec::Create(spec) | RowSpec::Sink(spec) => disk::name_of(&spec),
            RowSpec::Golden(spec) => disk::name_of(&spec.create),
            _ => None,
        }
    }

    fn delivers(&self) -> bool {
        true
    }

    fn is_delivery(&self, operation: &Operation) -> bool {
        matches!(read_row(operation, NEWEST), Ok(RowSpec::Copy(_) | RowSpec::Sink(_)))
    }

    fn lacks_input(&self, code: &str) -> bool {
        code == TEMPORARY_MISSING
    }

    /// A golden snapshot stays, but another job may have removed it: then the targets that need it fail, and a retry
    /// creates it again.
    fn creates_temporary(&self, operation: &Operation) -> bool {
        disk::creates_temporary(operation) || matches!(read_row(operation, NEWEST), Ok(RowSpec::Golden(_)))
    }

    async fn probe(&self, ports: &Ports, operation: &Operation) -> PortResult<Probe> {
        let spec = match read_row(operation, NEWEST) {
            Ok(RowSpec::Copy(spec)) => spec,
            Ok(RowSpec::Create(spec)) => return disk::probe(ports, operation, &spec).await,
            Ok(RowSpec::Sink(spec)) => return sink::probe(ports, operation, &spec, Role::Sink).await,
            Ok(RowSpec::Golden(spec)) => return sink::probe(ports, operation, &spec.create, Role::Golden).await,
            _ => return Ok(Probe::Foreign),
        };
        let found = match read(ports, &spec.id).await? {
            Reading::Absent => return Ok(Probe::Absent),
            Reading::BeingCreated => return Ok(Probe::Underway),
            Reading::Found(found) => found,
        };
        Ok(match replica::probe(Some(&found), spec.fleet, &spec.sync, &spec.source_unique_id) {
            replica::Probe::Absent => Probe::Absent,
            replica::Probe::Underway { .. } => Probe::Underway,
            replica::Probe::Done => Probe::Done,
            replica::Probe::Failed { .. } | replica::Probe::Stale => Probe::Stale,
            replica::Probe::Foreign(_) => Probe::Foreign,
        })
    }

    async fn run(&self, attempt: Attempt<'_>) -> Result<StepOutcome, StepError> {
        match read_row(attempt.operation, NEWEST)? {
            RowSpec::Copy(spec) => copy::run(attempt, &spec).await,
            RowSpec::Create(spec) => disk::run(attempt, &spec).await,
            RowSpec::Sink(spec) => sink::run(attempt, &spec, Role::Sink, None).await,
            RowSpec::Golden(spec) => hub::golden(attempt, &spec).await,
            _ => Err(AttemptError::fatal("row-damaged", "the row does not create a snapshot").into()),
        }
    }
}

/// What a GET of a snapshot returned.
pub(crate) enum Reading {
    /// It does not exist.
    Absent,
    /// It is being created, and the service does not report yet what it is.
    BeingCreated,
    /// It exists.
    Found(Box<Found>),
}

/// Reads a snapshot with the fields that decisions need.
///
/// # Errors
/// If the service refuses or cannot be reached, or with the code `resource-unreadable` if a field is missing.
pub(crate) async fn read(ports: &Ports, id: &SnapshotId) -> PortResult<Reading> {
    let resource_id = read_id(&id.to_string()).map_err(|error| invalid(error.message))?;
    Ok(match ports.resources.get(&resource_id, None).await? {
        None => Reading::Absent,
        Some(found) => match Found::from_json(&found.to_json()) {
            Ok(snapshot) => Reading::Found(Box::new(snapshot)),
            Err(_) if is_being_created(&found) => Reading::BeingCreated,
            Err(error) => return Err(invalid(format!("{id}: {error}"))),
        },
    })
}

/// The service reports the unique id of a snapshot after it created it.
fn is_being_created(found: &Resource) -> bool {
    let unique_id = found.body.properties.disk().and_then(|disk| disk.unique_id.as_ref());
    found.provisioning == Provisioning::InProgress && unique_id.is_none()
}

fn invalid(message: String) -> PortError {
    PortError::new(goldfleet_ports::error::ErrorKind::Invalid, message).with_code("resource-unreadable")
}
