//! Galleries that receive an uploaded version by the route `region`: what that needs, costs and takes.

use std::time::Duration;

use goldfleet_model::ids::{Region, ResourceGroup, SubscriptionId};
use goldfleet_model::sink::Sinks;
use goldfleet_model::target::Target;
use goldfleet_rates::{Money, Rates};
use serde::Serialize;

use crate::content::PlanContent;
use crate::route::{RouteEstimate, account_of_hub};

/// The writes to Resource Manager for each disk of a version: the copy of the golden snapshot, and its removal.
const DISK_WRITES: u128 = 2;
/// The writes for each region: the disk that proves that the version can be used, and its removal.
const REGION_WRITES: u128 = 2;

/// A gallery that receives a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GalleryReceiver {
    /// Its name.
    pub name: String,
    /// Its subscription.
    pub subscription: SubscriptionId,
    /// Its resource group.
    pub resource_group: ResourceGroup,
    /// The region of the version, whose golden snapshot is its source.
    pub region: Region,
    /// All regions, that of the version included, each with its number of replicas.
    pub replicas: Vec<(Region, u32)>,
}

impl GalleryReceiver {
    /// The hub of its region as a target of chunks: see [`hub_targets`](crate::hub_targets). None if the region has no name
    /// from which that of an account can be formed.
    pub(crate) fn hub(&self) -> Option<Target> {
        Some(Target {
            subscription: self.subscription,
            region: self.region.clone(),
            resource_group: self.resource_group.clone(),
            account: account_of_hub(&self.region)?,
            container: "disks".parse().ok()?,
            name: None,
            ring: 0,
            enabled: true,
            tags: Default::default(),
            disk_encryption_set: None,
            tenant: None,
            sinks: Sinks::default(),
        })
    }
}

/// What a gallery needs to get a version, besides the golden snapshot of its region.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GalleryEstimate {
    /// The name of the gallery.
    pub gallery: String,
    /// The number of regions.
    pub regions: usize,
    /// The number of replicas in all regions.
    pub replicas: u32,
    /// The writes to Resource Manager, without those of the image definition.
    pub management_writes: u128,
    /// The cost of replication to the other regions, in US dollars.
    #[serde(rename = "egress_usd")]
    pub egress: Money,
    /// The cost of all replicas for the number of days in the rates, in US dollars.
    #[serde(rename = "storage_usd")]
    pub storage: Money,
    /// The time from the begin of the job until the version is ready in all regions, in seconds: the golden snapshot, its copy, the
    /// slowest replication, and the time until the version can be used.
    #[serde(rename = "seconds", serialize_with = "seconds")]
    pub time: Duration,
}

fn seconds<S: serde::Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.as_secs_f64())
}

impl GalleryEstimate {
    /// What a gallery needs. `region` is the estimate of the route `region`.
    #[must_use]
    pub fn new(gallery: &GalleryReceiver, content: &PlanContent, region: &RouteEstimate, rates: &Rates) -> Self {
        let bytes = content.data_bytes;
        let replicas = gallery.replicas.iter().fold(0_u32, |sum, (_, count)| sum.saturating_add(*count));
        let others = || gallery.replicas.iter().map(|(region, _)| region).filter(|region| **region != gallery.region);
        let link = |to: &Region| Duration::from_secs(bytes.div_ceil(rates.wan(&gallery.region, to).max(1)));
        let slowest = others().map(link).max().unwrap_or_default();
        let before = region.estimate.time.total.saturating_sub(region.estimate.time.image);
        let (replication, lag) = rates.gallery();
        Self {
            gallery: gallery.name.clone(),
            regions: gallery.replicas.len(),
            replicas,
            management_writes: 1
                + u128::from(content.disks) * DISK_WRITES
                + gallery.replicas.len() as u128 * REGION_WRITES,
            egress: others().map(|to| rates.egress_cost(&gallery.region, to, bytes)).sum(),
            storage: rates.storage_cost(rates.storage.snapshot, u128::from(replicas) * u128::from(bytes)),
            time: before.saturating_add(slowest).saturating_add(replication).saturating_add(lag),
        }
    }
}
