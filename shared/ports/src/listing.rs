//! Lists of rows of which some cannot be read.

use goldfleet_model::ids::JobId;
use goldfleet_model::operation::OperationId;
use serde::Serialize;

use super::error::{ErrorKind, PortError, PortResult};

/// The code of a row of the tables that cannot be read.
pub const ROW_DAMAGED: &str = "row-damaged";

/// A row of the tables that cannot be read. It is set aside, so that it does not affect other rows.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct UnreadableRow {
    /// The id of the job, operation or upload. For other rows, and if it is not known, the key.
    pub id: String,
    /// Where the row is: the table and the key in it.
    pub key: String,
    /// Why it cannot be read.
    pub reason: String,
}

impl UnreadableRow {
    /// The error of a call that needs this row.
    #[must_use]
    pub fn into_error(self) -> PortError {
        PortError::new(ErrorKind::Invalid, self.to_string()).with_code(ROW_DAMAGED)
    }
}

impl std::fmt::Display for UnreadableRow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the row {} cannot be read from the table: {}", self.key, self.reason)
    }
}

/// A row by its name, independent of where an adapter stores it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RowName {
    /// A job.
    Job(JobId),
    /// An operation of a job.
    Operation(JobId, OperationId),
    /// An upload.
    Upload(JobId),
}

impl RowName {
    /// The id in [`UnreadableRow::id`].
    #[must_use]
    pub fn id(&self) -> String {
        match self {
            Self::Job(id) | Self::Upload(id) => id.to_string(),
            Self::Operation(_, id) => id.to_string(),
        }
    }
}

impl std::fmt::Display for RowName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Job(id) => write!(f, "jobs/{id}"),
            Self::Operation(job, id) => write!(f, "operations/{job}/{id}"),
            Self::Upload(id) => write!(f, "uploads/{id}"),
        }
    }
}

/// The rows that match a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing<T> {
    /// The rows that can be read, in the order that the method documents.
    pub rows: Vec<T>,
    /// The other ones, in the order of their keys.
    pub unreadable: Vec<UnreadableRow>,
}

impl<T> Default for Listing<T> {
    fn default() -> Self {
        Self { rows: Vec::new(), unreadable: Vec::new() }
    }
}

impl<T> Listing<T> {
    /// Sorts the results of reading rows.
    pub fn of(rows: impl IntoIterator<Item = Result<T, UnreadableRow>>) -> Self {
        let mut listing = Self::default();
        for row in rows {
            match row {
                Ok(row) => listing.rows.push(row),
                Err(row) => listing.unreadable.push(row),
            }
        }
        listing.unreadable.sort();
        listing
    }

    /// All rows, for callers that would do harm without one of them.
    ///
    /// # Errors
    /// `Invalid` with the code [`ROW_DAMAGED`] if a row cannot be read. The message names the first.
    pub fn complete(self) -> PortResult<Vec<T>> {
        match self.unreadable.into_iter().next() {
            Some(row) => Err(row.into_error()),
            None => Ok(self.rows),
        }
    }

    /// The same listing with its rows in another order.
    #[must_use]
    pub fn in_order(self, order: impl FnOnce(Vec<T>) -> Vec<T>) -> Self {
        Self { rows: order(self.rows), unreadable: self.unreadable }
    }
}
