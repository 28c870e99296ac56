//! What the copies of a disk or snapshot move between regions, cost and take.
//!
//! The service does not report how much of a disk is data, so the figures are upper bounds. The speed of the service's copies
//! is not documented: the times assume that of copies between storage accounts.

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
