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
const DISK_WRITES: u64 = 2;
/// The writes for each region: the disk that proves that the version can be used, and its removal.
const REGION_WRITES: u64 = 2;

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
    /// The hub of its region as a target of chunks: see [`hub_targets`](crate::hub_targets). None if the region has no
    /// name from which that of an account can be formed.
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
    pub management_writes: u64,
    /// The cost of replication to the other regions, in US dollars.
    #[serde(rename = "egress_usd")]
    pub egress: Money,
    /// The cost of all replicas for the number of days in the rates, in US dollars.
    #[serde(rename = "storage_usd")]
    pub storage: Money,
    /// The time from the begin of the job until the version is ready in all regions, in seconds: the golden snapshot,
    /// its copy, the slowest replication, and the time until the version can be used.
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
            management_writes: 1 + content.disks * DISK_WRITES + gallery.replicas.len() as u64 * REGION_WRITES,
            egress: others().map(|to| rates.egress_cost(&gallery.region, to, bytes)).sum(),
            storage: rates.storage_cost(rates.storage.snapshot, u128::from(replicas) * u128::from(bytes)),
            time: before.saturating_add(slowest).saturating_add(replication).saturating_add(lag),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use goldfleet_model::store::Store;

    use super::*;
    use crate::content::Inventory;
    use crate::planned::PlanRequest;
    use crate::testing::{store, target};

    fn receiver(region: &str, replicas: &[(&str, u32)]) -> GalleryReceiver {
        GalleryReceiver {
            name: "corp".to_owned(),
            subscription: SubscriptionId::nth_for_tests(7),
            resource_group: "images".parse().unwrap(),
            region: region.parse().unwrap(),
            replicas: replicas.iter().map(|(region, count)| (region.parse().unwrap(), *count)).collect(),
        }
    }

    /// The estimates of the route and of a gallery, for 30 GiB to a target in eastus.
    fn estimates(gallery: &GalleryReceiver) -> (RouteEstimate, GalleryEstimate, Rates) {
        let rates = Rates::built_in().unwrap();
        let stores = |region: &str| vec![store(region, &format!("gold{region}"))];
        let configured: BTreeMap<Region, Vec<Store>> =
            ["westeurope", "eastus"].map(|region| (region.parse().unwrap(), stores(region))).into();
        let (source, content) = (store("westeurope", "goldsource"), PlanContent::synthetic(30 << 30));
        let targets = [target(1, "eastus")];
        let asked = PlanRequest {
            source: &source,
            targets: &targets.iter().collect::<Vec<_>>(),
            configured: &configured,
            content: &content,
            inventory: &Inventory::default(),
            rates: &rates,
            within: None,
        };
        let region = RouteEstimate::region(&asked, std::slice::from_ref(gallery));
        let estimate = GalleryEstimate::new(gallery, &content, &region, &rates);
        (region, estimate, rates)
    }

    #[test]
    fn a_gallery_has_a_hub_and_its_replicas_have_a_price_and_a_time() {
        let replicas = [("westeurope", 2), ("eastus", 1), ("japaneast", 1)];
        let (region, estimate, rates) = estimates(&receiver("westeurope", &replicas));
        assert_eq!(region.page_writes, 2 * 30 * 256, "the hub of the gallery, and that of the target");
        assert_eq!((estimate.regions, estimate.replicas, estimate.management_writes), (3, 4, 1 + 2 + 3 * 2));
        let other = |to: &str| rates.egress_cost(&"westeurope".parse().unwrap(), &to.parse().unwrap(), 30 << 30);
        assert_eq!(estimate.egress, other("eastus") + other("japaneast"));
        assert_eq!(estimate.storage, rates.storage_cost(rates.storage.snapshot, 4 * (30 << 30)));
        let (replication, lag) = rates.gallery();
        assert!(estimate.time > region.estimate.time.total - region.estimate.time.image + replication + lag);
    }

    #[test]
    fn a_gallery_in_the_region_of_a_target_shares_its_hub() {
        let (region, estimate, rates) = estimates(&receiver("eastus", &[("eastus", 1)]));
        assert_eq!(region.page_writes, 30 * 256);
        let (replication, lag) = rates.gallery();
        let snapshot = region.estimate.time.total - region.estimate.time.image;
        assert_eq!(estimate.time, snapshot + replication + lag, "nothing is moved to another region");
        assert_eq!(estimate.egress, Money::default());
    }
}
