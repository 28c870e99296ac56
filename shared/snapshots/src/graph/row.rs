//! A row of the graph, before it belongs to a job.

use goldfleet_model::graph::{After, GateKey};
use goldfleet_model::ids::Region;
use goldfleet_model::operation::OperationId;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::id::SnapshotId;
use crate::remove::{DiscardSpec, LockSpec, RemoveSpec, TemporarySpec};

/// A row with a specification. Its fields are those of an [`Operation`](goldfleet_model::operation::Operation) with the
/// same names.
#[derive(Debug, Clone, PartialEq)]
pub struct Row<S = RowSpec> {
    /// Which operation of the job.
    pub id: OperationId,
    /// The id of the kind.
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
    pub spec: S,
}

impl<S> Row<S> {
    /// The same row with another form of its specification.
    #[must_use]
    pub fn map<T>(self, spec: impl FnOnce(S) -> T) -> Row<T> {
        let Self { id, kind, position, region, label, after, opens, always, spec: own } = self;
        Row { id, kind, position, region, label, after, opens, always, spec: spec(own) }
    }
}

/// What a row has to do: all that its step needs, because another worker may have to continue with the row alone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RowSpec {
    /// Create a replica, or wait for it.
    Copy(Box<CopySpec>),
    /// Fill a disk in another tenant with the content of a source.
    Export(Box<ExportSpec>),
    /// Create a disk or snapshot, such as a temporary one.
    Create(CreateSpec),
    /// Create the snapshot or disk of an image version that a target receives. One of the same version and content, of
    /// any job, is the one that the row creates.
    Sink(CreateSpec),
    /// Create the golden snapshot of a region. One of the same version and content, of any job, is the one that the row
    /// creates.
    Golden(Box<GoldenSpec>),
    /// Delete a snapshot.
    Remove(Box<RemoveSpec>),
    /// Delete a temporary.
    RemoveTemporary(TemporarySpec),
    /// Delete the disk of an export, and end the access to its source that an export may have left.
    EndExport(Box<EndExportSpec>),
    /// Lock a replica.
    Lock(LockSpec),
    /// Delete the replica of a copy that was cancelled or failed before it was complete.
    Discard(DiscardSpec),
}

impl RowSpec {
    /// The version of the specification as a document. Programs that do not know a part of it do not claim the row.
    #[must_use]
    pub fn version(&self) -> u16 {
        match self {
            Self::Copy(spec) if spec.exported.is_some() => 2,
            Self::EndExport(_) => 2,
            _ => 1,
        }
    }

    /// Why a row deletes something. None for a row that does not.
    #[must_use]
    pub fn reason(&self) -> Option<String> {
        match self {
            Self::Remove(spec) => Some(spec.reason()),
            Self::Discard(spec) => Some(spec.reason().to_owned()),
            Self::RemoveTemporary(_) | Self::EndExport(_) => Some("the job created it only for its copies".to_owned()),
            Self::Copy(_) | Self::Export(_) | Self::Create(_) | Self::Sink(_) | Self::Golden(_) | Self::Lock(_) => None,
        }
    }
}

/// A replica to create.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CopySpec {
    /// The fleet.
    pub fleet: Uuid,
    /// The name of the sync.
    pub sync: String,
    /// The replica.
    pub id: SnapshotId,
    /// The unique id of its source.
    pub source_unique_id: String,
    /// The size of the source in bytes, if it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// The id of the snapshot to copy: the source, a temporary, or a staged replica.
    pub copied: SnapshotId,
    /// The unique id of the snapshot to copy. None for a temporary of the job: the step reads it, and writes it to the
    /// tag `goldfleet-via` of the replica.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copied_unique_id: Option<String>,
    /// The body of the request.
    pub body: Value,
    /// The unique id of the remains of our failed copy, to delete first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remains: Option<String>,
    /// The name of the lock to put on the replica after it is complete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock: Option<String>,
    /// The disk that the replica is created from, if the source is in another tenant. Then `copied` is the source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exported: Option<Exported>,
}

/// A disk with the content of a source in another tenant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Exported {
    /// The resource id of the disk.
    pub disk: String,
    /// The operation that fills the disk. Its output names the disk that has all bytes by its unique id.
    pub filled_by: OperationId,
}

/// A disk to fill with the content of a source in another tenant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExportSpec {
    /// The fleet.
    pub fleet: Uuid,
    /// The name of the sync.
    pub sync: String,
    /// The replica. If it is complete, no disk is needed.
    pub replica: SnapshotId,
    /// The source.
    pub source: SnapshotId,
    /// The unique id of the source.
    pub source_unique_id: String,
    /// The size of the source in bytes.
    pub size: u64,
    /// The resource id of the disk.
    pub disk: String,
    /// The body of the request for the disk.
    pub body: Value,
}

/// What an export leaves if it does not end itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EndExportSpec {
    /// The disk.
    pub disk: TemporarySpec,
    /// The source.
    pub source: SnapshotId,
    /// The unique id of the source.
    pub source_unique_id: String,
    /// The operation that exports.
    pub exported_by: OperationId,
}

/// A disk or snapshot to create. The tags in the body that goldfleet sets identify it: an existing resource with the
/// same ones is the one that this row creates.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CreateSpec {
    /// The resource id.
    pub id: String,
    /// The unique id of the resource to copy. None for a temporary of the job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copied_unique_id: Option<String>,
    /// The body of the request.
    pub body: Value,
    /// The machine whose disk is copied, if nothing may write to the disk meanwhile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requires_stopped: Option<RequiresStopped>,
    /// Whether it is created at most once, because a second one could have other content: the disk may have changed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub once: bool,
    /// The operation that created the golden snapshot to copy. Its output has the unique id, so not each of the many
    /// copies has to read the snapshot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copied_from: Option<OperationId>,
    /// The restore point of the job in which the disk to copy is. Its id is known only after the restore point was
    /// created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restored: Option<Restored>,
}

/// A disk in a restore point of a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restored {
    /// The resource id of the restore point.
    pub point: String,
    /// The LUN of the disk. None for the OS disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lun: Option<u32>,
}

/// The golden snapshot of a region, which is created from a disk that the job has filled.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GoldenSpec {
    /// The snapshot.
    #[serde(flatten)]
    pub create: CreateSpec,
    /// The operation that fills the disk. Its output names the disk whose bytes are proven.
    pub filled_by: OperationId,
}

/// A machine that must not run while its disk is copied: all disks of the machine have to be from the same moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequiresStopped {
    /// The resource id of the machine.
    pub machine: String,
    /// The id that no other machine ever has.
    pub vm_id: String,
    /// How long the machine may be stopped for the copies. None if that is not limited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub downtime: Option<Downtime>,
}

/// How long a machine that the job stopped may be stopped before it is started again. A copy that has not begun then is
/// not made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Downtime {
    /// The row that stopped the machine. Its output says when.
    pub deallocated_by: OperationId,
    /// The limit in seconds.
    pub seconds: u64,
}
