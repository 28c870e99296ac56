//! Rows of a plan as operations of a job.

use goldfleet_model::document::Document;
use goldfleet_model::graph::{After, GateKey};
use goldfleet_model::ids::Region;
use goldfleet_model::job::Job;
use goldfleet_model::operation::{KindId, Operation, OperationId, OperationState, Place, TransferProgress};
use jiff::Timestamp;

/// A row of a plan that has no image version and no target. Its fields are those of an [`Operation`] with the same names.
#[derive(Debug)]
pub(super) struct NewRow {
    pub(super) id: OperationId,
    pub(super) kind: &'static str,
    pub(super) position: u16,
    pub(super) region: Region,
    pub(super) label: String,
    pub(super) after: Vec<After>,
    pub(super) opens: Vec<GateKey>,
    pub(super) always: bool,
    pub(super) spec: Document,
    pub(super) bytes_total: u64,
}

/// A row as an operation of a job, written at `now`.
pub(super) fn operation(job: &Job, row: NewRow, now: Timestamp) -> Operation {
    let starts = row.position == 0 && row.after.is_empty();
    Operation {
        job: job.id.clone(),
        id: row.id,
        plan: job.plan,
        image: None,
        kind: kind_id(row.kind),
        position: row.position,
        place: Place { region: row.region, label: row.label, target: None },
        after: row.after,
        opened: false,
        opens: row.opens,
        streams: Vec::new(),
        always: row.always,
        spec: row.spec,
        output: None,
        state: if starts { OperationState::Ready } else { OperationState::Waiting },
        attempts: 0,
        failures: 0,
        lost: 0,
        lease: None,
        not_before: None,
        queued: None,
        progress: TransferProgress { bytes_total: row.bytes_total, ..TransferProgress::default() },
        failure: None,
        created: now,
        started: None,
        work_period: None,
        updated: now,
    }
}

/// The id of a kind. The routes name only valid ones, and a test of each route reads them all.
pub(super) fn kind_id(kind: &str) -> KindId {
    #[expect(clippy::expect_used, reason = "the ids are constants, and the tests of the routes read them all")]
    kind.parse().expect("the id of a kind")
}
