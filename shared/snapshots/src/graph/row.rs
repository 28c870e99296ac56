//! A row of the graph, before it belongs to a job.

use goldfleet_model::graph::{After, GateKey};
use goldfleet_model::ids::Region;
use goldfleet_model::operation::OperationId;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::id::SnapshotId;
use crate::remove::{RemoveSpec, TemporarySpec};

/// A row. Its fields are those of an [`Operation`](goldfleet_model::operation::Operation) with the same names.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Which operation of the job.
    pub id: OperationId,
    /// The id of the kind: `snapshot`, `disk` or `remove`.
    pub kind: &'static str,
    /// Its place in the chain of its group.
    pub position: u16,
    /// The region of its effect.
    pub region: Region,
    /// The place of its effect for operators: `subscription/region`.
    pub label: String,
    /// The gates that it waits for.
    pub after: Vec<After>,
    /// The gates that it opens.
    pub opens: Vec<GateKey>,
    /// Whether it runs despite cancellation and broken gates.
    pub always: bool,
    /// What it has to do.
    pub spec: RowSpec,
}

/// What a row has to do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RowSpec {
    /// Create a replica, or wait for it.
    Copy(Box<CopySpec>),
    /// Create a temporary disk or snapshot.
    Temporary(TemporaryResource),
    /// Delete a snapshot.
    Remove(Box<RemoveSpec>),
    /// Delete a temporary.
    RemoveTemporary(TemporarySpec),
}

/// A replica to create.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CopySpec {
    /// The replica.
    pub id: SnapshotId,
    /// The unique id of its source.
    pub source_unique_id: String,
    /// The id of the snapshot to copy: the source, a temporary, or a staged replica.
    pub copied: SnapshotId,
    /// The unique id of the snapshot to copy. None for a temporary of the job: the step reads it, and writes it to the
    /// tag `goldfleet-via` of the replica.
    pub copied_unique_id: Option<String>,
    /// The body of the request.
    pub body: Value,
    /// The unique id of the remains of our failed copy, to delete first.
    pub remains: Option<String>,
    /// The name of the lock to put on the replica after it is complete.
    pub lock: Option<String>,
}

/// A temporary to create.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TemporaryResource {
    /// The resource id.
    pub id: String,
    /// The body of the request.
    pub body: Value,
}
