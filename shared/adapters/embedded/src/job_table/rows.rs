//! The columns of rows, and the values that they represent.

use goldfleet_model::chunk_set::ChunkSet;
use goldfleet_model::job::Job;
use goldfleet_model::operation::{Operation, OperationId};
use goldfleet_model::upload::Upload;
use goldfleet_ports::error::{ErrorKind, PortError, PortResult};
use goldfleet_ports::{ETag, Versioned};
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use serde::de::DeserializeOwned;

use super::statements as sql;

/// The columns of an operation.
pub(super) struct StoredOperation {
    pub(super) job: String,
    pub(super) id: String,
    pub(super) group: String,
    pub(super) plan: u32,
    pub(super) state: &'static str,
    pub(super) time: i64,
    pub(super) kind: String,
    pub(super) body: String,
    pub(super) done: Vec<u8>,
}

impl StoredOperation {
    pub(super) fn of(operation: &Operation) -> PortResult<Self> {
        Ok(Self {
            job: operation.job.to_string(),
            id: operation.id.to_string(),
            group: operation.id.group().to_string(),
            plan: operation.plan,
            state: operation.state.as_str(),
            time: nanoseconds(operation.state_time()),
            kind: operation.kind.to_string(),
            body: to_json(operation)?,
            done: operation.progress.done.encode(),
        })
    }

    pub(super) fn is_there(&self, connection: &Connection) -> rusqlite::Result<bool> {
        let mut select = connection.prepare_cached(sql::OPERATION_EXISTS)?;
        Ok(select.query_row(params![self.job, self.id], |_| Ok(())).optional()?.is_some())
    }
}

pub(super) type RawJob = (String, i64, String);
pub(super) type RawOperation = (String, String, i64, String, Vec<u8>);

pub(super) fn raw_job(row: &Row<'_>) -> rusqlite::Result<RawJob> {
    Ok((row.get(0)?, row.get(1)?, row.get(2)?))
}

pub(super) fn raw_operation(row: &Row<'_>) -> rusqlite::Result<RawOperation> {
    Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?))
}

pub(super) fn job((id, etag, body): RawJob) -> PortResult<Versioned<Job>> {
    Ok(Versioned { value: from_json(&body, || format!("job {id}"))?, etag: ETag(etag.to_string()) })
}

pub(super) fn operation((job, id, etag, body, done): RawOperation) -> PortResult<Versioned<Operation>> {
    let name = || format!("operation {id} of job {job}");
    let mut value: Operation = from_json(&body, name)?;
    value.progress.done = ChunkSet::decode(&done).map_err(|error| corrupt_row(&name(), &error))?;
    Ok(Versioned { value, etag: ETag(etag.to_string()) })
}

pub(super) fn uploads(bodies: &[String]) -> PortResult<Vec<Upload>> {
    bodies.iter().map(|body| from_json(body, || "an upload".to_owned())).collect()
}

pub(super) fn operation_id(text: &str) -> PortResult<OperationId> {
    text.parse().map_err(|error| corrupt_row(&format!("operation {text}"), &error))
}

/// A time as SQLite stores it, in nanoseconds since 1970. Times outside the years 1677 to 2262 become the nearest one.
pub(super) fn nanoseconds(time: Timestamp) -> i64 {
    let nanoseconds = time.as_nanosecond();
    i64::try_from(nanoseconds).unwrap_or(if nanoseconds < 0 { i64::MIN } else { i64::MAX })
}

pub(super) fn limit(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// The version of a row from its ETag. An ETag in another format matches no row.
pub(super) fn version(etag: &ETag) -> i64 {
    etag.0.parse().unwrap_or(-1)
}

pub(super) fn to_json(value: &impl serde::Serialize) -> PortResult<String> {
    serde_json::to_string(value).map_err(|error| corrupt_row("a row", &error))
}

pub(super) fn from_json<T: DeserializeOwned>(body: &str, name: impl Fn() -> String) -> PortResult<T> {
    serde_json::from_str(body).map_err(|error| corrupt_row(&name(), &error))
}

pub(super) fn corrupt_row(name: &str, error: &dyn std::error::Error) -> PortError {
    PortError::new(ErrorKind::Invalid, format!("{name} cannot be read from the table: {error}"))
        .with_code("row-damaged")
}

pub(super) fn changed_or_gone(name: &str, there: bool) -> PortError {
    if there {
        PortError::new(ErrorKind::Conflict, format!("{name} was changed by someone else meanwhile"))
    } else {
        PortError::new(ErrorKind::NotFound, format!("{name} is not in the table"))
    }
}
