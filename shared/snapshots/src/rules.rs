//! What a sync does: its source, its destinations, and what it may delete.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use goldfleet_model::ids::{JobId, Region};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::id::GroupRef;
use crate::measured::Measured;
use crate::names::{self, ReplicaName};
use crate::select::Selection;
use crate::snapshot::Snapshot;

/// The number of copies between regions that may run at the same time in a subscription and region. Source: Microsoft,
/// `disks-copy-incremental-snapshot-across-regions`.
pub const PARALLEL_COPIES: usize = 100;

/// Where replicas are created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// The resource group.
    pub group: GroupRef,
    /// The region of the replicas.
    pub region: Region,
    /// The disk encryption set of the replicas. It must be in their subscription and region.
    pub encryption_set: Option<String>,
    /// Whether its subscription is in another tenant than the source. The platform copies nothing between tenants.
    pub other_tenant: bool,
    /// The disk access resource of replicas whose source permits only private endpoints. It must be in their region.
    pub disk_access: Option<String>,
}

impl Destination {
    /// A text that identifies the destination. Equal destinations have the same key.
    #[must_use]
    pub fn key(&self) -> String {
        format!("{}/{}", self.group.key(), self.region)
    }
}

/// Whether a sync deletes replicas.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeletePolicy {
    /// It never deletes a replica.
    #[default]
    Never,
    /// It deletes replicas whose source is proven to be gone, and with `keep` those that are not among the newest.
    Mirror,
}

/// The speed of copies between regions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Speed {
    /// The service's default.
    #[default]
    Standard,
    /// The service's faster copy, at a price.
    Enhanced,
}

/// What a sync does.
#[derive(Debug, Clone)]
pub struct Rules {
    /// The name of the sync.
    pub name: String,
    /// The fleet.
    pub fleet: Uuid,
    /// The group of the source snapshots.
    pub source: GroupRef,
    /// The filters.
    pub selection: Selection,
    /// Where replicas are created.
    pub destinations: Vec<Destination>,
    /// The group for temporaries of full snapshots that are copied to another region.
    pub scratch: Option<GroupRef>,
    /// Whether replicas are deleted.
    pub delete: DeletePolicy,
    /// The number of newest replicas per family and destination to keep. None keeps all.
    pub keep: Option<NonZeroU32>,
    /// The largest number of replicas that a run deletes. If more are due, the run deletes none.
    pub max_deletes: u32,
    /// The minimum time between the first run that finds a source absent, and the run that deletes its replica.
    pub grace: SignedDuration,
    /// Whether replicas get a lock against deletion.
    pub lock: bool,
    /// The speed of copies between regions.
    pub speed: Speed,
    /// The names of replicas. None if a replica has the name of its source.
    pub replica_name: Option<ReplicaName>,
    /// What a probe measured, by the region of the source and the index of the destination.
    pub measured: BTreeMap<(Region, usize), Measured>,
}

/// Rules that contradict each other.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// There is no destination.
    #[error("the sync has no destination: name at least one in 'to'")]
    NoDestination,
    /// Replicas would have the names of their sources in the same group.
    #[error("destination {0} is the source group: a replica has the name of its source, so use another group")]
    DestinationIsSource(GroupRef),
    /// Two destinations would create the same names.
    #[error("destination {0} is named twice: a replica has the name of its source, so use a group for each region")]
    SharedGroup(GroupRef),
    /// The order of copies would be shared.
    #[error(
        "destinations {0} and {1} are in the same subscription and region: the service permits copies of a disk's \
         snapshots there only in the order of their creation, for both together, so use one of them"
    )]
    SharedPlace(GroupRef, GroupRef),
    /// Deletion is not enabled.
    #[error("'keep' deletes replicas: it needs delete = \"mirror\"")]
    KeepWithoutMirror,
    /// A run would see the same absence twice.
    #[error("'grace' is negative: use 0 or a longer time")]
    NegativeGrace,
}

impl Rules {
    /// Finds all contradictions.
    #[must_use]
    pub fn check(&self) -> Vec<RuleError> {
        let mut errors = Vec::new();
        if self.destinations.is_empty() {
            errors.push(RuleError::NoDestination);
        }
        for (index, Destination { group, region, .. }) in self.destinations.iter().enumerate() {
            let mut earlier = self.destinations[..index].iter();
            if *group == self.source {
                errors.push(RuleError::DestinationIsSource(group.clone()));
            } else if earlier.clone().any(|other| other.group == *group) {
                errors.push(RuleError::SharedGroup(group.clone()));
            } else if let Some(other) =
                earlier.find(|other| other.region == *region && other.group.subscription == group.subscription)
            {
                errors.push(RuleError::SharedPlace(other.group.clone(), group.clone()));
            }
        }
        if self.keep.is_some() && self.delete == DeletePolicy::Never {
            errors.push(RuleError::KeepWithoutMirror);
        }
        if self.grace.is_negative() {
            errors.push(RuleError::NegativeGrace);
        }
        errors
    }

    /// The final name of the replica of a source in a region.
    #[must_use]
    pub fn name_of(&self, source: &Snapshot, region: &Region) -> String {
        match &self.replica_name {
            Some(template) => template.fill(source, region),
            None => names::of_replica(&source.id),
        }
    }

    /// A text that differs if the rules can conclude something else about the absence of a source.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let filters = self.selection.fingerprint();
        names::hash(&[&self.name, &self.source.key(), &filters, &format!("{:?} {:?}", self.delete, self.keep)], 16)
    }
}

/// One run of a sync.
#[derive(Debug, Clone)]
pub struct Run {
    /// The job.
    pub job: JobId,
    /// The time.
    pub now: Timestamp,
    /// Whether replicas may be deleted if no source is selected at all.
    pub allow_empty: bool,
    /// A limit of deletions for this run only.
    pub max_deletes: Option<u32>,
}
