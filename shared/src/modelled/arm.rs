//! Resource Manager's state in the model: managed images, and a token bucket a subscription and kind of request.
//!
//! Azure counts by subscription, region and principal, the region being that of the Resource Manager which answers. All
//! of a fleet's requests are taken to come from one place and to be answered in one region.

use std::collections::{BTreeMap, HashMap};

use super::errors;
use super::limits::ArmKind;
use super::pace::{Bucket, Moment};
use super::stats::Limit;
use super::traffic::Begun;
use super::world::{World, nanos};
use crate::model::ids::{Region, SubscriptionId};
use crate::ports::error::PortResult;

/// Resource Manager's state.
#[derive(Default)]
pub(super) struct Arm {
    pub(super) images: BTreeMap<String, Image>,
    buckets: HashMap<(SubscriptionId, ArmKind), Bucket>,
}

/// A managed image.
#[derive(Debug, Clone)]
pub(super) struct Image {
    pub(super) region: Region,
    pub(super) tags: BTreeMap<String, String>,
    /// When it is there.
    pub(super) ready: Moment,
}

impl World {
    /// Begins a request to Resource Manager.
    pub(super) fn manage<T>(
        &mut self,
        now: Moment,
        subscription: SubscriptionId,
        kind: ArmKind,
        checked: impl FnOnce(&mut Self) -> PortResult<T>,
    ) -> Begun<T> {
        let until = now.saturating_add(nanos(self.pace.resource_manager()));
        let taken = match self.pace.bucket(kind) {
            Some(rates) => {
                let bucket = self.arm.buckets.entry((subscription, kind)).or_insert_with(|| Bucket::new(rates));
                bucket.take(now)
            }
            None => Ok(()),
        };
        if let Err(wait) = taken {
            *self.refused.entry(Limit::ResourceManager).or_default() += 1;
            // Retry-After has whole seconds.
            let seconds = std::time::Duration::from_nanos(wait).as_secs_f64().ceil();
            return (until, Err(errors::too_many_requests(std::time::Duration::from_secs_f64(seconds))));
        }
        let name = match kind {
            ArmKind::Read => "resource manager read",
            ArmKind::Write => "resource manager write",
            ArmKind::Delete => "resource manager delete",
        };
        *self.served.entry(name).or_default() += 1;
        (until, checked(self))
    }
}
