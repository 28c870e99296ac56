//! Resource Manager's state in the model: managed images, and a token bucket a subscription and kind of request.
//!
//! Azure counts by subscription, region and principal, the region being that of the Resource Manager which answers. All
//! of a fleet's requests are taken to come from one place and to be answered in one region.

use std::collections::{BTreeMap, HashMap};

use goldfleet_model::ids::{Region, SubscriptionId};
use goldfleet_model::store::BlobAddress;

use super::limits::{ArmKind, BucketRates};
use super::pipe::{Bucket, SimNanos};

/// Resource Manager's state.
#[derive(Default)]
pub(super) struct ResourceManagerState {
    pub(super) images: BTreeMap<String, Image>,
    buckets: HashMap<(SubscriptionId, ArmKind), Bucket>,
}

/// A managed image.
#[derive(Debug, Clone)]
pub(super) struct Image {
    pub(super) region: Region,
    pub(super) tags: BTreeMap<String, String>,
    /// What it is made of.
    pub(super) vhd: BlobAddress,
    /// When it is there.
    pub(super) ready: SimNanos,
}

impl ResourceManagerState {
    /// Takes a request's token. An error says for how many nanoseconds there is none.
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
