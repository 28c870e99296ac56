//! The records of publications: the state of a gallery version that is kept after the end of its job.

use goldfleet_galleries::publication::{FORMAT, Publication};
use goldfleet_galleries::spec::PublishSpec;
use goldfleet_model::document::Document;
use goldfleet_model::resource::ResourceId;
use goldfleet_ports::Ports;
use goldfleet_ports::error::{ErrorKind, PortError, PortResult};
use goldfleet_ports::records::RecordName;

/// The number of attempts to write a record that others write too.
const ATTEMPTS: u32 = 10;

fn name_of(version: &ResourceId) -> PortResult<RecordName> {
    let name = Publication::record_name(version);
    name.parse().map_err(|error| PortError::new(ErrorKind::Invalid, format!("{name}: {error}")))
}

/// Reads a publication from its document.
///
/// # Errors
/// `Invalid` if another version of the program wrote it.
pub fn of_document(document: &Document) -> PortResult<Publication> {
    let invalid = |error| PortError::new(ErrorKind::Invalid, format!("the record of a publication: {error}"));
    document.read(FORMAT).map_err(invalid)
}

/// Reads the publication of a version. None if there is none.
///
/// # Errors
/// If the table cannot be reached, or another version of the program wrote the record.
pub async fn read(ports: &Ports, version: &ResourceId) -> PortResult<Option<Publication>> {
    let found = ports.records.get(&name_of(version)?).await?;
    found.map(|found| of_document(&found.value)).transpose()
}

/// Changes the publication of a version, and returns it as it is afterwards. A missing record is created with `spec`.
/// The change is repeated if another process has written the record in between.
///
/// # Errors
/// If the table cannot be reached, or if other processes write the record at every attempt.
pub async fn update(
    ports: &Ports,
    spec: &PublishSpec,
    change: impl Fn(&mut Publication) + Send + Sync,
) -> PortResult<Publication> {
    let name = name_of(&spec.version)?;
    for _ in 0..ATTEMPTS {
        let found = ports.records.get(&name).await?;
        let before = found.as_ref().map(|found| of_document(&found.value)).transpose()?;
        let mut after = before.clone().unwrap_or_else(|| Publication::new(spec.clone()));
        change(&mut after);
        if before.as_ref() == Some(&after) {
            return Ok(after);
        }
        let document = Document::new(FORMAT, &after)
            .map_err(|error| PortError::new(ErrorKind::Invalid, format!("record {name}: {error}")))?;
        match ports.records.put(&name, &document, found.as_ref().map(|found| &found.etag)).await {
            Ok(_) => return Ok(after),
            Err(error) if matches!(error.kind, ErrorKind::Conflict | ErrorKind::AlreadyExists) => {}
            Err(error) => return Err(error),
        }
    }
    let message = format!("other processes changed record {name} in every attempt");
    Err(PortError::new(ErrorKind::Unavailable, message))
}
