//! Jobs: one image version for a set of targets, or other work on resources.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::document::Document;
use super::ids::{ImageName, ImageVersion, JobId};
use super::image::ImageRef;
use super::manifest::{Generation, OsType};
use super::operation::{Failure, KindId};
use super::selector::Selector;
use super::store::Container;
use super::system::System;
use crate::operation::Lease;
use crate::tree::Tree;

/// The state of a job. [`crate::state::next_job`] defines the transitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JobState {
    /// An operator requested the job. The dispatcher has not yet written all operations.
    Requested,
    /// Its operations are in the table.
    Running,
    /// An operator requested cancellation. Some operations have not stopped yet.
    Cancelling,
    /// Every operation succeeded or was skipped.
    Succeeded,
    /// At least one operation failed, or the job could not be planned.
    Failed,
    /// The job was cancelled.
    Cancelled,
}

impl JobState {
    /// All states.
    pub const ALL: [Self; 6] =
        [Self::Requested, Self::Running, Self::Cancelling, Self::Succeeded, Self::Failed, Self::Cancelled];

    /// The states of jobs that have not ended: those that are not [terminal](Self::is_terminal).
    pub const OPEN: [Self; 3] = [Self::Requested, Self::Running, Self::Cancelling];

    /// Whether the job changes only if an operator requests it.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }

    /// The state's name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Requested => "requested",
            Self::Running => "running",
            Self::Cancelling => "cancelling",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

impl fmt::Display for JobState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Facts of the image version that are needed without its artifact record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payload {
    /// The operating system.
    pub os: OsType,
    /// The Hyper-V generation.
    pub generation: Generation,
    /// The sum of the logical sizes of its disks in bytes, without footers.
    pub size: u64,
    /// The sum of the lengths of the chunks of all disks in bytes, without zero runs.
    pub data_bytes: u64,
    /// The operating system that the check before the upload found. None if that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<System>,
}

/// Work on resources that needs no image version, such as a run of a sync.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Work {
    /// The route that plans it: see `control/routes` of the dispatcher.
    pub route: String,
    /// What it does, for people, such as `sync citrix`.
    pub title: String,
    /// The command that requests the same work again, and continues an open job of it.
    pub resume: String,
    /// What the route needs for planning. The route owns its format.
    pub spec: Document,
}

/// How an image version reaches the targets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// The route that plans it: see `control/routes` of the dispatcher.
    pub route: String,
    /// The options of `goldfleet dispatch` that request it.
    pub options: String,
    /// What the route needs for planning. The route owns its format.
    pub spec: Document,
}

/// What a job is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Subject {
    /// An image version is distributed to targets.
    Image {
        /// The image version.
        image: ImageRef,
        /// Facts of the image version.
        payload: Payload,
        /// How it reaches the targets. None for the route `staging`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        delivery: Option<Box<Delivery>>,
    },
    /// Other work on resources.
    Work {
        /// The work.
        work: Work,
    },
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Image { image, .. } => image.fmt(f),
            Self::Work { work } => f.pad(&work.title),
        }
    }
}

/// Something that the planning of a job reports besides its operations, such as a snapshot that cannot be copied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// A stable code in kebab case, listed in `docs/failures.md`.
    pub code: String,
    /// Whether the job ends as failed because of it, even if all operations succeed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub failed: bool,
    /// What it is about, such as the id of a snapshot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// A description, with what to do. It contains no secrets.
    pub message: String,
}

impl Finding {
    /// Creates a finding that an operator must know, and that does not make the job fail.
    #[must_use]
    pub fn note(code: &str, message: impl Into<String>) -> Self {
        Self { code: code.to_owned(), failed: false, place: None, message: message.into() }
    }

    /// Creates a finding that makes the job fail: a reason why something cannot be done.
    #[must_use]
    pub fn failure(code: &str, place: impl ToString, message: impl Into<String>) -> Self {
        Self { code: code.to_owned(), failed: true, place: Some(place.to_string()), message: message.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        write!(f, "{} ({})", self.message, self.code)
    }
}

/// An operator's permission to start a ring.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    /// The ring.
    pub ring: u32,
    /// The operator who approved it.
    pub by: String,
    /// When it was approved.
    pub at: Timestamp,
}

/// One image version for a set of targets, or other work: a row of the job table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// The identifier of the job.
    pub id: JobId,
    /// What it is about.
    #[serde(flatten)]
    pub subject: Subject,
    /// Selects among the enabled targets. Empty selects all of them.
    pub selection: Vec<Selector>,
    /// Its state.
    pub state: JobState,
    /// The approved rings, if every ring after the first needs an approval. None if rings start automatically.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approvals: Option<Vec<Approval>>,
    /// The number of the last planning attempt. Each attempt writes the next number by compare-and-swap before it
    /// writes rows, and its rows contain the number, so two plans are never mixed. 0 before the first attempt.
    #[serde(default)]
    pub plan: u32,
    /// The kinds of its operations, in the order in which they are shown.
    #[serde(default)]
    pub kinds: Vec<KindId>,
    /// The number of its operations. None until it is planned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operations: Option<u64>,
    /// Whether the messages of its first operations were sent.
    #[serde(default)]
    pub announced: bool,
    /// Which store fills which. None until it is planned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tree: Option<Tree>,
    /// What its planning reports besides its operations. At most [`Job::MAX_FINDINGS`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Finding>,
    /// The reason why the job as a whole failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// Whether retention has removed the VHDs that this job staged since it last started.
    #[serde(default)]
    pub cleaned: bool,
    /// Whether the rows of the job are being removed. No other change is made to it then.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub removing: bool,
    /// The time until which its gates are not evaluated and it does not end, because a retry is writing its rows. If
    /// the retry is interrupted, this time ends the pause.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gates_held_until: Option<Timestamp>,
    /// Who requested the job, in the form that events use for operators. None in rows of earlier releases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requested_by: Option<String>,
    /// The operator's remark, such as a ticket number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// When it was requested.
    pub created: Timestamp,
    /// When it last changed.
    pub updated: Timestamp,
    /// When it ended: the moment at which its last operation ended. None until it has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished: Option<Timestamp>,
}

impl Job {
    /// The largest number of findings in a row: a property of a table row has at most 64 KiB.
    pub const MAX_FINDINGS: usize = 50;

    /// The image version that it distributes. None for other work.
    #[must_use]
    pub fn image(&self) -> Option<&ImageRef> {
        match &self.subject {
            Subject::Image { image, .. } => Some(image),
            Subject::Work { .. } => None,
        }
    }

    /// The facts of the image version that it distributes. None for other work.
    #[must_use]
    pub fn payload(&self) -> Option<&Payload> {
        match &self.subject {
            Subject::Image { payload, .. } => Some(payload),
            Subject::Work { .. } => None,
        }
    }

    /// How an image version reaches the targets. None for the route `staging`, and for other work.
    #[must_use]
    pub fn delivery(&self) -> Option<&Delivery> {
        match &self.subject {
            Subject::Image { delivery, .. } => delivery.as_deref(),
            Subject::Work { .. } => None,
        }
    }

    /// Whether it distributes this version of an image, with any content.
    #[must_use]
    pub fn is_for(&self, image: &ImageName, version: &ImageVersion) -> bool {
        self.image().is_some_and(|own| own.name == *image && own.version == *version)
    }

    /// Whether its gates are not evaluated at `now`. They are held for minutes only, so a time that is further in the
    /// future than the longest lease is wrong.
    #[must_use]
    pub fn holds_gates(&self, now: Timestamp) -> bool {
        self.gates_held_until.is_some_and(|until| now < until && until.duration_since(now) <= Lease::LONGEST)
    }

    /// When the job ended, if all its operations have ended: at the moment of their last change. A job without
    /// operations ended when its row last changed.
    #[must_use]
    pub fn end_time(&self, last_change: Option<Timestamp>) -> Timestamp {
        self.finished.or(last_change).unwrap_or(self.updated)
    }

    /// The approval of a ring, if it was given.
    #[must_use]
    pub fn approval(&self, ring: u32) -> Option<&Approval> {
        self.approvals.iter().flatten().find(|approval| approval.ring == ring)
    }

    /// The containers of the stores in its tree.
    pub fn stores(&self) -> impl Iterator<Item = Container> {
        self.tree.iter().flat_map(|tree| &tree.stores).map(|planned| planned.store.container())
    }

    /// The containers of the stores in its tree that have no parent: the source store. Empty before the job is planned.
    pub fn sources(&self) -> impl Iterator<Item = Container> {
        let planned = self.tree.iter().flat_map(|tree| &tree.stores);
        planned.filter(|planned| planned.parent.is_none()).map(|planned| planned.store.container())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_states_are_the_non_terminal_states() {
        let open: Vec<JobState> = JobState::ALL.into_iter().filter(|state| !state.is_terminal()).collect();
        assert_eq!(open, JobState::OPEN);
    }
}
