//! Operations: the steps of a job, one row each in the job table.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::chunk_set::ChunkSet;
use super::ids::{InvalidName, JobId, ManagedImageName, Region};
use super::image::ImageRef;
use super::manifest::{Generation, OsType};
use super::store::Store;
use super::target::{Target, TargetKey};

/// What an operation does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Fill a region's store with chunks.
    Seed,
    /// Assemble a target's VHD from its region's store.
    Copy,
    /// Make a managed image from a target's VHD.
    Image,
}

impl Kind {
    /// All kinds, in the order in which a job goes through them.
    pub const ALL: [Self; 3] = [Self::Seed, Self::Copy, Self::Image];

    /// The kind's name, as in ids, messages and the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Seed => "seed",
            Self::Copy => "copy",
            Self::Image => "image",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Kind {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or_else(|| InvalidName {
            what: "phase",
            given: text.to_owned(),
            rule: "use seed, copy or image",
        })
    }
}

/// An operation's identifier in its job. Written `seed.REGION.ACCOUNT.CONTAINER`, `copy.SUBSCRIPTION.REGION` or
/// `image.SUBSCRIPTION.REGION`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum OperationId {
    /// Fills this store.
    Seed(Store),
    /// Assembles this target's VHD.
    Copy(TargetKey),
    /// Makes this target's managed image.
    Image(TargetKey),
}

impl OperationId {
    /// What the operation does.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Seed(_) => Kind::Seed,
            Self::Copy(_) => Kind::Copy,
            Self::Image(_) => Kind::Image,
        }
    }

    /// The operation's group: the rows that one commit may change together. A target's copy and image are one group,
    /// each seed is its own.
    #[must_use]
    pub fn group(&self) -> String {
        let text = self.to_string();
        match self {
            Self::Seed(_) => text,
            Self::Copy(_) | Self::Image(_) => {
                text.split_once('.').map_or_else(String::new, |(_, group)| group.to_owned())
            }
        }
    }

    /// The region in which the operation's effect lies.
    #[must_use]
    pub fn region(&self) -> &Region {
        match self {
            Self::Seed(store) => &store.region,
            Self::Copy(key) | Self::Image(key) => &key.region,
        }
    }

    /// What an operator calls the place: `subscription/region` of a target, account and region of a store.
    #[must_use]
    pub fn place(&self) -> String {
        match self {
            Self::Seed(store) => store.to_string(),
            Self::Copy(key) | Self::Image(key) => key.to_string(),
        }
    }
}

impl fmt::Display for OperationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Seed(store) => write!(f, "seed.{}.{}.{}", store.region, store.account, store.container),
            Self::Copy(key) => write!(f, "copy.{}.{}", key.subscription, key.region),
            Self::Image(key) => write!(f, "image.{}.{}", key.subscription, key.region),
        }
    }
}

impl FromStr for OperationId {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let target = |subscription: &str, region: &str| -> Result<TargetKey, InvalidName> {
            Ok(TargetKey { subscription: subscription.parse()?, region: region.parse()? })
        };
        match text.split('.').collect::<Vec<_>>()[..] {
            ["seed", region, account, container] => Ok(Self::Seed(Store {
                region: region.parse()?,
                account: account.parse()?,
                container: container.parse()?,
            })),
            ["copy", subscription, region] => Ok(Self::Copy(target(subscription, region)?)),
            ["image", subscription, region] => Ok(Self::Image(target(subscription, region)?)),
            _ => Err(InvalidName {
                what: "operation",
                given: text.to_owned(),
                rule: "it is written seed.REGION.ACCOUNT.CONTAINER, copy.SUBSCRIPTION.REGION or image.SUBSCRIPTION.REGION",
            }),
        }
    }
}

impl TryFrom<String> for OperationId {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, InvalidName> {
        text.parse()
    }
}

impl From<OperationId> for String {
    fn from(id: OperationId) -> Self {
        id.to_string()
    }
}

/// Where an operation stands. [`crate::state::next_operation`] says how it gets from one to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OperationState {
    /// Something must happen first: an image waits for its copy.
    Waiting,
    /// Any worker may claim it.
    Ready,
    /// A worker holds its lease.
    Running,
    /// A worker holds its lease and is asked to stop at the next checkpoint.
    Cancelling,
    /// Done.
    Succeeded,
    /// Given up, for the reason on the row.
    Failed,
    /// Stopped on request, or never begun because what it needs did not come about.
    Cancelled,
    /// Nothing was to be done: the target already had this version.
    Skipped,
}

impl OperationState {
    /// All states.
    pub const ALL: [Self; 8] = [
        Self::Waiting,
        Self::Ready,
        Self::Running,
        Self::Cancelling,
        Self::Succeeded,
        Self::Failed,
        Self::Cancelled,
        Self::Skipped,
    ];

    /// Whether nothing more happens unless an operator asks for it.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled | Self::Skipped)
    }

    /// Whether a worker holds (or held, if its lease ran out) the operation.
    #[must_use]
    pub fn is_leased(self) -> bool {
        matches!(self, Self::Running | Self::Cancelling)
    }

    /// The state's name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Ready => "ready",
            Self::Running => "running",
            Self::Cancelling => "cancelling",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Skipped => "skipped",
        }
    }
}

impl fmt::Display for OperationState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A worker's right to an operation, as a value: whoever can't show the token has lost it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Made anew at each claim.
    pub token: Uuid,
    /// Who holds it, for people to read.
    pub holder: String,
    /// When anyone else may claim.
    pub expires: Timestamp,
}

/// Why an operation (or a job) failed, or last had to be tried again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// A stable code in kebab case, listed in `docs/failures.md`.
    pub code: String,
    /// What happened, in words; no secrets.
    pub message: String,
    /// The service's request or correlation id, if it gave one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// When.
    pub at: Timestamp,
}

/// How far a seed or copy is. All counts are bytes of chunk data, without zero runs.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Progress {
    /// The chunks that are in place, by their order in the manifest. Kept beside the row's other fields, as it can be
    /// larger than one table property may be.
    #[serde(skip)]
    pub done: ChunkSet,
    /// Bytes of all chunks.
    pub bytes_total: u64,
    /// Bytes of the chunks in place.
    pub bytes_done: u64,
    /// Bytes moved by all attempts together: more than `bytes_done` where something had to be moved twice, less where
    /// chunks were there before. What a killed worker moved after its last heartbeat is not in it.
    pub bytes_moved: u64,
    /// The blob that the chunks of a copy are in, by its [`VhdMetadata::INCARNATION`]: what is recorded of one says nothing of
    /// another that has taken its place. None before there is one, and of a seed, whose chunks are blobs each.
    ///
    /// [`VhdMetadata::INCARNATION`]: super::image::VhdMetadata::INCARNATION
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incarnation: Option<Uuid>,
}

/// What an operation is to do, complete: a worker needs nothing else but the manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Work {
    /// Fill a store.
    Seed {
        /// The store to fill.
        store: Store,
        /// Where from: the planned parent first, then its parents up to the source.
        from: Vec<Store>,
    },
    /// Assemble a target's VHD.
    Copy {
        /// The target.
        target: Target,
        /// Where from: the region's store first, then its parents up to the source.
        from: Vec<Store>,
    },
    /// Make a managed image.
    Image {
        /// The target.
        target: Target,
        /// The managed image's name.
        name: ManagedImageName,
        /// The operating system on the disk.
        os: OsType,
        /// The disk's Hyper-V generation.
        generation: Generation,
    },
}

impl Work {
    /// The target, if the work has one.
    #[must_use]
    pub fn target(&self) -> Option<&Target> {
        match self {
            Self::Seed { .. } => None,
            Self::Copy { target, .. } | Self::Image { target, .. } => Some(target),
        }
    }
}

/// One step of a job: a row of the job table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// The job.
    pub job: JobId,
    /// Which operation of the job.
    pub id: OperationId,
    /// The image version it serves.
    pub image: ImageRef,
    /// What is to be done.
    pub work: Work,
    /// Where it stands.
    pub state: OperationState,
    /// How often it was claimed.
    pub attempts: u32,
    /// How many attempts failed since it was last made ready by an operator (or the job).
    pub failures: u32,
    /// Who works on it, while it is running.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<Lease>,
    /// Not to be claimed before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// When its message was last put in a queue, so far as is known: the sweeper sends it again when this is long ago.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queued: Option<Timestamp>,
    /// How far it is.
    pub progress: Progress,
    /// Why it failed, or why it was last tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// When the row was made.
    pub created: Timestamp,
    /// When it was first claimed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<Timestamp>,
    /// When it last changed.
    pub updated: Timestamp,
}

impl Operation {
    /// Whether a worker's right to it has run out at `now`.
    #[must_use]
    pub fn lease_expired(&self, now: Timestamp) -> bool {
        self.state.is_leased() && self.lease.as_ref().is_none_or(|lease| lease.expires <= now)
    }

    /// Whether `token` is the lease that stands on the row.
    #[must_use]
    pub fn held_by(&self, token: Uuid) -> bool {
        self.state.is_leased() && self.lease.as_ref().is_some_and(|lease| lease.token == token)
    }
}
