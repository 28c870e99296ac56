//! What the rows of a clone contain: all that a step needs, because another worker may have to continue with the row
//! alone.

use goldfleet_model::operation::OperationId;
use goldfleet_model::resource::ResourceId;
use goldfleet_snapshots::graph::RowSpec as SnapshotSpec;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Deallocate a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeallocateSpec {
    /// The machine.
    pub id: ResourceId,
    /// The id that no other machine ever has.
    pub vm_id: String,
    /// The row that starts it again.
    pub started_by: OperationId,
}

/// The output of a deallocation. It is written before the machine is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeallocateOutput {
    /// Whether the machine ran, so that it must be started again.
    pub ran: bool,
    /// The number of this deallocation. A retry of a job after the machine was started again is another one.
    pub round: u32,
    /// When the machine was to be stopped. None if it did not run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
}

/// The output of a start, written when the machine runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartOutput {
    /// The number of the deallocation after which the machine was started.
    pub round: u32,
}

/// Start a machine again that another row deallocated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartSpec {
    /// The machine.
    pub id: ResourceId,
    /// The id that no other machine ever has.
    pub vm_id: String,
    /// The row that deallocated it. Its output determines whether the machine is started.
    pub deallocated_by: OperationId,
}

/// Create a machine. The tags in the body that goldfleet sets identify it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MachineSpec {
    /// The machine.
    pub id: ResourceId,
    /// The body of the request.
    pub body: Value,
}

/// Create a managed image from snapshots. The tags in the body that goldfleet sets identify it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CaptureSpec {
    /// The image.
    pub id: ResourceId,
    /// The body of the request.
    pub body: Value,
}

/// Create a restore point of a machine, in a collection of the job. The tags in the body of the collection that
/// goldfleet sets identify both: a restore point has none.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RestoreSpec {
    /// The restore point.
    pub point: ResourceId,
    /// The id that no other machine than that of the collection ever has.
    pub vm_id: String,
    /// The collection.
    pub id: ResourceId,
    /// The body of the request for the collection.
    pub body: Value,
}

/// What a row has to do.
#[derive(Debug, Clone, PartialEq)]
pub enum RowSpec {
    /// Create or remove a disk or snapshot.
    Resource(SnapshotSpec),
    /// Deallocate the source.
    Deallocate(DeallocateSpec),
    /// Start the source.
    Start(StartSpec),
    /// Create a restore point of the source.
    Restore(Box<RestoreSpec>),
    /// Create the clone.
    Machine(Box<MachineSpec>),
    /// Create the image.
    Capture(Box<CaptureSpec>),
}

/// A row of a clone.
pub type Row = goldfleet_snapshots::graph::Row<RowSpec>;
