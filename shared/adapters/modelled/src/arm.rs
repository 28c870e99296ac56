//! The state of Resource Manager in the model: managed images, and a token bucket for each subscription and kind of
//! request.
//!
//! Azure counts requests by subscription, principal, and the region of the Resource Manager instance that responds. The
//! model assumes that all requests of a fleet come from one place and are served in one region.

use std::collections::{BTreeMap, HashMap};

use goldfleet_model::ids::{Region, SubscriptionId};
use goldfleet_model::store::BlobAddress;

use super::limits::{ArmKind, BucketRates};
use super::pipe::{Bucket, SimNanos};

/// The state of Resource Manager.
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
    /// The VHD from which the image was created.
    pub(super) vhd: BlobAddress,
    /// The time at which the creation completes.
    pub(super) ready: SimNanos,
}

impl ResourceManagerState {
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
