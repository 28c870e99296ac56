//! Commits whose answer may get lost.
//!
//! A write can land while its answer does not arrive. Trying again then meets a row that has changed, and only reading it
//! tells whether the change was one's own. Whoever changes operations does it through [`commit_confirmed`].

use std::time::Duration;

use goldfleet_model::event::Event;
use goldfleet_model::operation::Operation;

use crate::backoff::Backoff;
use crate::error::{ErrorKind, PortError, PortResult};
use crate::job_table::Change;
use crate::{ETag, Ports, Versioned};

/// How often a commit is tried before its error is believed.
const MAX_TRIES: u32 = 4;

/// The waits between tries.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(1));

/// Rows of one group to write together, and the lines of the log that go with them.
#[derive(Debug, Clone, Default)]
pub struct Commit {
    /// The rows, each on condition that it is still as it was read.
    pub changes: Vec<Change>,
    /// The lines.
    pub events: Vec<Event>,
}

impl Commit {
    /// Adds `operation` in place of the row that it was made from, with the lines that say how.
    pub fn push(&mut self, row: &Versioned<Operation>, operation: Operation, events: impl IntoIterator<Item = Event>) {
        self.changes.push(Change { operation, if_match: row.etag.clone() });
        self.events.extend(events);
    }

    /// Whether it changes nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// The operations as it leaves them.
    pub fn operations(&self) -> impl Iterator<Item = &Operation> {
        self.changes.iter().map(|change| &change.operation)
    }
}

/// What became of a commit.
#[derive(Debug)]
pub enum CommitOutcome {
    /// It was committed: the rows' versions, in the order of the changes.
    Committed(Vec<ETag>),
    /// Someone else changed a row first: the group as it is now.
    Conflict(Vec<Versioned<Operation>>),
}

/// Commits, tries again what may pass, and finds out after a lost answer whether it was committed.
///
/// # Errors
/// Where the table refuses for good, or can't be reached for several tries.
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
                if let Some(etags) = committed_versions(changes, &rows) {
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
        if failures == MAX_TRIES {
            return Err(error);
        }
        ports.clock.sleep(error.retry_after.unwrap_or(wait)).await;
    }
}

async fn read_back(ports: &Ports, changes: &[Change]) -> PortResult<Vec<Versioned<Operation>>> {
    let Some(first) = changes.first() else {
        return Err(PortError::new(ErrorKind::Invalid, "a commit must change something"));
    };
    ports.table.group(&first.operation.job, &first.operation.id).await
}

/// The rows' versions, if they all are what the changes make them. No two commits write equal rows by chance: a claim
/// brings a new token, every other transition the time.
fn committed_versions(changes: &[Change], rows: &[Versioned<Operation>]) -> Option<Vec<ETag>> {
    changes
        .iter()
        .map(|change| rows.iter().find(|row| row.value == change.operation).map(|row| row.etag.clone()))
        .collect()
}
