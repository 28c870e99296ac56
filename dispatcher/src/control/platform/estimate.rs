//! The bytes, the cost and the time of the copies of a disk or snapshot between regions.
//!
//! The service does not report how much of a disk is data, so the figures are upper bounds. The speed of the service's
//! copies is not documented: the times assume that of copies between storage accounts.

use goldfleet_galleries::graph::PlannedGallery;
use goldfleet_hubs::plan::Delivery;
use goldfleet_model::ids::Region;
use goldfleet_rates::{Money, Rates};
use serde::Serialize;

/// The copy to one region.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RegionCopy {
    /// The region of the source.
    pub from: Region,
    /// The region of the copy.
    pub to: Region,
    /// The subscription and resource group of the copy.
    pub hub: String,
    /// The number of targets that it serves.
    pub targets: usize,
    /// The size of all disks.
    pub bytes_at_most: u64,
    /// The price of these bytes in US dollars.
    pub egress_at_most: Money,
    /// The seconds in which the link between the regions moves these bytes.
    pub seconds_at_most: u64,
}

/// The copies to all regions except that of the source, in the order of their regions.
#[must_use]
pub fn region_copies(delivery: &Delivery, rates: &Rates) -> Vec<RegionCopy> {
    let from = delivery.source.region();
    let bytes = delivery.size().unwrap_or_default();
    let copy = |to: &Region| RegionCopy {
        from: from.clone(),
        to: to.clone(),
        hub: delivery.hubs.get(to).map_or_else(String::new, |hub| hub.group.to_string()),
        targets: delivery.to_do().filter(|planned| planned.target.region == *to).count(),
        bytes_at_most: bytes,
        egress_at_most: rates.egress_cost(from, to, bytes),
        seconds_at_most: bytes.div_ceil(rates.wan(from, to).max(1)),
    };
    delivery.remote_regions().map(copy).collect()
}

/// A gallery that receives a version of the disk or snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GalleryCopy {
    /// The name of the gallery.
    pub gallery: String,
    /// The region of the version.
    pub region: Region,
    /// The number of regions.
    pub regions: usize,
    /// The number of replicas in all regions.
    pub replicas: u32,
    /// Whether it has the version, and the version is ready in all regions.
    pub done: bool,
    /// The price of replication to the other regions in US dollars.
    pub egress_at_most: Money,
    /// The price of all replicas, for the number of days in the rates, in US dollars.
    pub storage_at_most: Money,
}

/// The estimates of galleries. A gallery that has the version adds no cost.
#[must_use]
pub fn gallery_copies(delivery: &Delivery, rates: &Rates) -> Vec<GalleryCopy> {
    let bytes = delivery.size().unwrap_or_default();
    let copy = |planned: &PlannedGallery| {
        let (region, regions) = (&planned.settings.region, planned.settings.all_regions());
        let replicas = regions.iter().fold(0_u32, |sum, region| sum.saturating_add(region.replicas));
        let moved = if planned.is_done { 0 } else { bytes };
        let others = regions.iter().filter(|other| other.name != *region);
        GalleryCopy {
            gallery: planned.settings.name.to_string(),
            region: region.clone(),
            regions: regions.len(),
            replicas,
            done: planned.is_done,
            egress_at_most: others.map(|to| rates.egress_cost(region, &to.name, moved)).sum(),
            storage_at_most: rates.storage_cost(rates.storage.snapshot, u128::from(replicas) * u128::from(moved)),
        }
    };
    delivery.galleries.iter().map(copy).collect()
}
