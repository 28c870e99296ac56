//! Named records with compare-and-swap, beside the job table: state that belongs to no job, such as the state of a sync
//! or the result of a probe.

use std::fmt;
use std::str::FromStr;

use async_trait::async_trait;
use goldfleet_model::document::Document;
use goldfleet_model::ids::InvalidName;

use super::error::{ErrorKind, PortError, PortResult};
use super::{ETag, Versioned};

/// The maximum length of a record, in bytes of the JSON of its document. An entity of the Table service has at most
/// 1 MiB (source: Table service data model). The rest is for its names and for its other properties.
pub const MAX_LENGTH: usize = 512 * 1024;

/// The name of a record. The part before the first dot is the type of the record, for example `s.NAME` for the state of
/// a sync.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordName(String);

impl RecordName {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RecordName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        if (1..=100).contains(&text.len()) && is_part_of_a_name(text) {
            return Ok(Self(text.to_owned()));
        }
        let rule = "use 1 to 100 lower-case letters, digits, '-' and '.'";
        Err(InvalidName { what: "record name", given: text.to_owned(), rule })
    }
}

impl fmt::Display for RecordName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A record that was listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its name.
    pub name: RecordName,
    /// Its document and version.
    pub document: Versioned<Document>,
}

/// Records with optimistic concurrency. [`JobTable::ensure`](crate::job_table::JobTable::ensure) creates their table.
///
/// A write whose response is lost may have taken effect. The caller reads the record to find out.
#[async_trait]
pub trait Records: Send + Sync {
    /// Reads a record. None if it does not exist.
    ///
    /// # Errors
    /// If the service refuses or cannot be reached.
    async fn get(&self, name: &RecordName) -> PortResult<Option<Versioned<Document>>>;

    /// Creates a record, or replaces the version `if_match` of it. Returns the new ETag. No ETag is used twice for one
    /// name, also if the record is removed and created again.
    ///
    /// # Errors
    /// Without `if_match`: `AlreadyExists` if the record exists. With `if_match`: `Conflict` if the record has another
    /// ETag, `NotFound` if it does not exist. `Invalid` with the code `record-too-large` if the JSON of the document is
    /// longer than [`MAX_LENGTH`].
    async fn put(&self, name: &RecordName, document: &Document, if_match: Option<&ETag>) -> PortResult<ETag>;

    /// Removes the version `if_match` of a record. It is not an error if the record does not exist.
    ///
    /// # Errors
    /// `Conflict` if the record has another ETag.
    async fn remove(&self, name: &RecordName, if_match: &ETag) -> PortResult<()>;

    /// Lists the records whose names begin with `prefix`, in the order of their names. An empty prefix lists all.
    ///
    /// # Errors
    /// `Invalid` if no name can begin with `prefix`. Others if the service refuses or cannot be reached.
    async fn list(&self, prefix: &str) -> PortResult<Vec<Record>>;
}

/// The JSON of a document, for all adapters.
///
/// # Errors
/// `Invalid` with the code `record-too-large` if it is longer than [`MAX_LENGTH`].
pub fn encode(name: &RecordName, document: &Document) -> PortResult<String> {
    let text = serde_json::to_string(document)
        .map_err(|error| PortError::new(ErrorKind::Invalid, format!("record {name} cannot be written: {error}")))?;
    if text.len() <= MAX_LENGTH {
        return Ok(text);
    }
    let message = format!("record {name} would have {} bytes, the maximum is {MAX_LENGTH}", text.len());
    Err(PortError::new(ErrorKind::Invalid, message).with_code("record-too-large"))
}

/// The document of a JSON text that [`encode`] wrote, for all adapters.
///
/// # Errors
/// `Invalid` with the code `row-damaged` if it cannot be read.
pub fn decode(name: &RecordName, text: &[u8]) -> PortResult<Document> {
    serde_json::from_slice(text).map_err(|error| {
        let message = format!("record {name} cannot be read from the table: {error}");
        PortError::new(ErrorKind::Invalid, message).with_code("row-damaged")
    })
}

/// The end of the names that begin with `prefix`, exclusive, for all adapters. No name contains a character after `z`.
///
/// # Errors
/// `Invalid` if no name can begin with `prefix`.
pub fn end_of_prefix(prefix: &str) -> PortResult<String> {
    if is_part_of_a_name(prefix) {
        return Ok(format!("{prefix}~"));
    }
    Err(PortError::new(ErrorKind::Invalid, format!("no record name begins with {prefix:?}")))
}

/// The error for a record that is not in the version `if_match`, for all adapters.
#[must_use]
pub fn changed_or_missing(name: &RecordName, exists: bool) -> PortError {
    if exists {
        PortError::new(ErrorKind::Conflict, format!("record {name} was changed by another process"))
    } else {
        PortError::new(ErrorKind::NotFound, format!("record {name} does not exist"))
    }
}

fn is_part_of_a_name(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_usable_as_table_key() {
        for text in ["s.citrix", "a", "probe.westeurope.2026-11-29", &"x".repeat(100)] {
            assert_eq!(text.parse::<RecordName>().unwrap().as_str(), text);
        }
        for text in ["", "S.citrix", "s citrix", "s/x", "s'x", "s_x", "é", &"x".repeat(101)] {
            assert!(text.parse::<RecordName>().is_err(), "{text}");
        }
    }
}
