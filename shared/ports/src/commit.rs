//! Commits whose response can be lost.
//!
//! A write can take effect although its response is lost. A second try then finds a changed row, and only reading the
//! row shows whether the first try changed it. All code that changes operations uses [`commit_confirmed`].

use std::time::Duration;

use goldfleet_model::event::Event;
use goldfleet_model::operation::Operation;

use crate::backoff::Backoff;
use crate::error::{ErrorKind, PortError, PortResult};
use crate::job_table::Change;
use crate::listing::Listing;
use crate::timeout::fits_in_place;
use crate::{ETag, Ports, Versioned};

/// The number of tries before a commit returns its error.
const MAX_TRIES: u32 = 4;

/// The waits between tries.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(1));

/// Rows of one group to write together, and the events to append with them.
#[derive(Debug, Clone, Default)]
pub struct Commit {
    /// The rows, each on condition that its ETag is unchanged.
    pub changes: Vec<Change>,
    /// The events.
    pub events: Vec<Event>,
}

impl Commit {
    /// Replaces `row` by `operation` and appends the events of its transitions.
    pub fn push(&mut self, row: &Versioned<Operation>, operation: Operation, events: impl IntoIterator<Item = Event>) {
        self.changes.push(Change::new(row, operation));
        self.events.extend(events);
    }

    /// Whether the commit contains no change.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// The operations as the commit writes them.
    pub fn operations(&self) -> impl Iterator<Item = &Operation> {
        self.changes.iter().map(|change| &change.operation)
    }
}

/// The result of a commit.
#[derive(Debug)]
pub enum CommitOutcome {
    /// It was committed. Contains the ETags of the rows, in the order of the changes.
    Committed(Vec<ETag>),
    /// Another process changed a row first. Contains the present rows of the group.
    Conflict(Listing<Versioned<Operation>>),
}

/// Commits, retries transient errors, and checks after a lost response whether the commit took effect.
///
/// # Errors
/// If the table refuses permanently, or if it cannot be reached in several tries.
pub async fn commit_confirmed(ports: &Ports, commit: &Commit) -> PortResult<CommitOutcome> {
    let Commit { changes, events } = commit;
    let mut failures = 0;
    loop {
        let error = match ports.table.commit(changes, events).await {
            Ok(etags) => return Ok(CommitOutcome::Committed(etags)),
            Err(error) if error.is_retryable() => error,
            Err(error) => return Err(error),
        };
        match read_back(ports, changes).await {
            Ok(rows) => {
                if let Some(etags) = committed_versions(changes, &rows.rows) {
                    return Ok(CommitOutcome::Committed(etags));
                }
                if error.kind == ErrorKind::Conflict {
                    return Ok(CommitOutcome::Conflict(rows));
                }
            }
            Err(look) if !look.is_retryable() => return Err(look),
            Err(_) => {}
        }
        let wait = BACKOFF.wait(failures);
        failures += 1;
        if failures == MAX_TRIES || !fits_in_place(error.retry_after) {
            return Err(error);
        }
        ports.clock.sleep(error.retry_after.unwrap_or(wait)).await;
    }
}

async fn read_back(ports: &Ports, changes: &[Change]) -> PortResult<Listing<Versioned<Operation>>> {
    let Some(first) = changes.first() else {
        return Err(PortError::new(ErrorKind::Invalid, "a commit must change something"));
    };
    ports.table.list_group(&first.operation.job, &first.operation.id).await
}

/// The ETags of the rows, if all of them are as the changes write them. Two commits never write equal rows by chance: a
/// claim writes a new token, and every other transition writes the time.
fn committed_versions(changes: &[Change], rows: &[Versioned<Operation>]) -> Option<Vec<ETag>> {
    changes
        .iter()
        .map(|change| rows.iter().find(|row| row.value == change.operation).map(|row| row.etag.clone()))
        .collect()
}
