//! The state of Resource Manager in the model: resources, and a token bucket for each subscription and kind of
//! request.
//!
//! Azure counts requests by subscription, principal, and the region of the Resource Manager instance that responds. The
//! model assumes that all requests of a fleet come from one place and are served in one region.

use std::collections::{BTreeMap, HashMap};

use goldfleet_model::ids::{Region, SubscriptionId};
use goldfleet_model::resource::{Lock, ResourceId};

use super::extents::Extents;
use super::limits::{ArmKind, BucketRates};
use super::pipe::{Bucket, SimNanos};
use super::resources::{Contents, ModelledResource, Replication};

/// The state of Resource Manager.
#[derive(Default)]
pub(super) struct ResourceManagerState {
    pub(super) resources: BTreeMap<ResourceId, ModelledResource>,
    /// The contents of disks and snapshots.
    pub(super) contents: Contents,
    /// The locks, by their ids in lower case.
    pub(super) locks: BTreeMap<String, Lock>,
    /// How replications of gallery versions behave, by region.
    pub(super) replications: BTreeMap<Region, Replication>,
    /// The number of unique ids that were assigned.
    unique_ids: u64,
    buckets: HashMap<(SubscriptionId, ArmKind), Bucket>,
}

impl ResourceManagerState {
    /// A unique id for a new disk or snapshot. It is the same in every run.
    pub(super) fn next_unique_id(&mut self) -> String {
        self.unique_ids += 1;
        format!("00000000-0000-4000-8000-{:012x}", self.unique_ids)
    }

    /// The content of a disk or snapshot. None if it does not exist, or if nothing was written to it.
    pub(super) fn content(&self, id: &ResourceId) -> Option<&Extents> {
        self.contents.extents(self.resources.get(id)?.unique_id()?)
    }

    /// Takes a token for a request. The error is the number of nanoseconds until the next token.
    pub(super) fn take(
        &mut self,
        now: SimNanos,
        subscription: SubscriptionId,
        kind: ArmKind,
        rates: BucketRates,
    ) -> Result<(), u64> {
        self.buckets.entry((subscription, kind)).or_insert_with(|| Bucket::new(rates)).take(now)
    }
}
