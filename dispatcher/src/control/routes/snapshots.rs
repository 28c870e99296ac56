//! The route of a sync: the plan of `goldfleet-snapshots` as rows of a job. The platform copies the content, so no byte
//! passes through goldfleet.
//!
//! - A group for each copy: the snapshot, and the removal of what a cancelled copy leaves behind.
//! - Two groups for each full snapshot that is copied to another region: its temporaries, and their removal.
//! - A group for each staged replica that gets its final name, and for each removal.

use goldfleet_kinds::context::write_spec;
use goldfleet_model::job::Job;
use goldfleet_model::operation::{KindId, Operation, OperationState, Place, TransferProgress};
use goldfleet_snapshots::graph::{Graph, Row, RowSpec};
use jiff::Timestamp;

/// The ids of the kinds that the route uses, in the order in which they are shown.
pub const KINDS: [&str; 3] = ["disk", "snapshot", "remove"];

/// A plan of a sync as a graph.
pub struct Snapshots<'a> {
    job: &'a Job,
    graph: Graph<'a, 'a>,
    now: Timestamp,
}

impl<'a> Snapshots<'a> {
    /// The graph of a job, written at `now`. The run of the graph must be that job.
    #[must_use]
    pub fn new(job: &'a Job, graph: Graph<'a, 'a>, now: Timestamp) -> Self {
        Self { job, graph, now }
    }

    /// The groups, those of temporaries first.
    pub fn groups(&self) -> impl Iterator<Item = Vec<Operation>> + '_ {
        self.graph.groups().map(|rows| rows.into_iter().map(|row| self.operation(row)).collect())
    }

    fn operation(&self, row: Row) -> Operation {
        let starts = row.position == 0 && row.after.is_empty();
        let bytes_total = match &row.spec {
            RowSpec::Copy(copy) => copy.size.unwrap_or(0),
            _ => 0,
        };
        Operation {
            job: self.job.id.clone(),
            id: row.id,
            plan: self.job.plan,
            image: self.job.image().cloned(),
            kind: kind_id(row.kind),
            position: row.position,
            place: Place { region: row.region, label: row.label, target: None },
            after: row.after,
            opened: false,
            opens: row.opens,
            streams: Vec::new(),
            always: row.always,
            spec: write_spec(&row.spec),
            output: None,
            state: if starts { OperationState::Ready } else { OperationState::Waiting },
            attempts: 0,
            failures: 0,
            lost: 0,
            lease: None,
            not_before: None,
            queued: None,
            progress: TransferProgress { bytes_total, ..TransferProgress::default() },
            failure: None,
            created: self.now,
            started: None,
            work_period: None,
            updated: self.now,
        }
    }
}

/// The kinds of the route.
#[must_use]
pub fn kinds() -> Vec<KindId> {
    KINDS.into_iter().map(kind_id).collect()
}

fn kind_id(kind: &str) -> KindId {
    #[expect(clippy::expect_used, reason = "the ids above are valid, and a test reads them all")]
    kind.parse().expect("the id of a kind")
}

#[cfg(test)]
mod tests {
    use goldfleet_kinds::registry::Registry;

    use super::*;

    #[test]
    fn every_kind_is_registered() {
        let registry = Registry::default();
        assert!(kinds().iter().all(|kind| registry.get(kind).is_some()));
    }
}
