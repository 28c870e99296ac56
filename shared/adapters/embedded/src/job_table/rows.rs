//! The columns of rows, and the values that they represent.

use goldfleet_model::chunk_set::ChunkSet;
use goldfleet_model::event::Event;
use goldfleet_model::job::Job;
use goldfleet_model::operation::{Operation, OperationId};
use goldfleet_model::upload::Upload;
use goldfleet_ports::error::{ErrorKind, PortError, PortResult};
use goldfleet_ports::listing::{ROW_DAMAGED, UnreadableRow};
use goldfleet_ports::{ETag, Versioned};
use jiff::Timestamp;
use rusqlite::types::ValueRef;
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

/// The columns of a job: id, version and body. A column of a damaged row can have any type, so texts are bytes.
pub(super) type RawJob = (String, i64, Vec<u8>);
/// The columns of an operation: job, id, version, body and chunk set.
pub(super) type RawOperation = (String, String, i64, Vec<u8>, Vec<u8>);
/// The key and the body of an upload or an event.
pub(super) type RawBody = (String, Vec<u8>);

pub(super) fn raw_job(row: &Row<'_>) -> rusqlite::Result<RawJob> {
    Ok((text(row, 0)?, integer(row, 1)?, bytes(row, 2)?))
}

pub(super) fn raw_operation(row: &Row<'_>) -> rusqlite::Result<RawOperation> {
    Ok((text(row, 0)?, text(row, 1)?, integer(row, 2)?, bytes(row, 3)?, bytes(row, 4)?))
}

pub(super) fn raw_body(row: &Row<'_>) -> rusqlite::Result<RawBody> {
    Ok((text(row, 0)?, bytes(row, 1)?))
}

/// A column as bytes. Empty if it is neither text nor bytes.
fn bytes(row: &Row<'_>, column: usize) -> rusqlite::Result<Vec<u8>> {
    Ok(row.get_ref(column)?.as_bytes().unwrap_or_default().to_vec())
}

/// A column as an integer. Zero if it is of another type.
pub(super) fn integer(row: &Row<'_>, column: usize) -> rusqlite::Result<i64> {
    Ok(row.get_ref(column)?.as_i64().unwrap_or(0))
}

/// A column as text. Empty if it is of another type.
pub(super) fn text(row: &Row<'_>, column: usize) -> rusqlite::Result<String> {
    Ok(match row.get_ref(column)? {
        ValueRef::Integer(number) => number.to_string(),
        other => String::from_utf8_lossy(other.as_bytes().unwrap_or_default()).into_owned(),
    })
}

pub(super) fn job((id, etag, body): RawJob) -> Result<Versioned<Job>, UnreadableRow> {
    let value = parse(&body).map_err(|reason| unreadable(format!("jobs/{id}"), id, reason))?;
    Ok(Versioned { value, etag: ETag(etag.to_string()) })
}

pub(super) fn operation((job, id, etag, body, done): RawOperation) -> Result<Versioned<Operation>, UnreadableRow> {
    let value = parse(&body).and_then(|mut value: Operation| {
        value.progress.done = ChunkSet::decode(&done).map_err(|error| error.to_string())?;
        Ok(value)
    });
    let value = value.map_err(|reason| unreadable(format!("operations/{job}/{id}"), id, reason))?;
    Ok(Versioned { value, etag: ETag(etag.to_string()) })
}

pub(super) fn upload((id, body): RawBody) -> Result<Upload, UnreadableRow> {
    parse(&body).map_err(|reason| unreadable(format!("uploads/{id}"), id, reason))
}

pub(super) fn event((sequence, body): RawBody) -> Result<Event, UnreadableRow> {
    let key = format!("events/{sequence}");
    parse(&body).map_err(|reason| unreadable(key.clone(), key, reason))
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    serde_json::from_slice(body).map_err(|error| error.to_string())
}

fn unreadable(key: String, id: String, reason: String) -> UnreadableRow {
    UnreadableRow { id, key, reason }
}

/// The operations with these ids. The row of an id that is damaged is among those that cannot be read.
pub(super) fn operation_ids(ids: &[String]) -> Vec<OperationId> {
    ids.iter().filter_map(|id| id.parse().ok()).collect()
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

pub(super) fn corrupt_row(name: &str, error: &dyn std::error::Error) -> PortError {
    PortError::new(ErrorKind::Invalid, format!("{name} cannot be read from the table: {error}")).with_code(ROW_DAMAGED)
}

pub(super) fn changed_or_gone(name: &str, there: bool) -> PortError {
    if there {
        PortError::new(ErrorKind::Conflict, format!("{name} was changed by someone else meanwhile"))
    } else {
        PortError::new(ErrorKind::NotFound, format!("{name} is not in the table"))
    }
}
