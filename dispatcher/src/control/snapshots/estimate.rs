//! The bytes, the cost and the time of the copies of a run between regions.
//!
//! The service reports the size of a disk and not how much of it differs, so the figures are upper bounds. The speed of
//! the service's copies is not documented: the times assume that of copies between storage accounts.

use std::collections::BTreeMap;

use goldfleet_model::ids::Region;
use goldfleet_rates::{Money, Rates};
use goldfleet_snapshots::plan::Copy;
use goldfleet_snapshots::rules::Rules;
use serde::Serialize;

/// The estimate of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct RunEstimate {
    /// Copies to another region that move the whole data of a disk, because the destination has no earlier snapshot of
    /// it.
    pub whole: usize,
    /// The sizes of their disks in bytes.
    pub whole_bytes_at_most: u64,
    /// Copies to another region that move only the difference to an earlier snapshot of the disk.
    pub differences: usize,
    /// The sizes of their disks in bytes. The difference is usually a small part of it.
    pub differences_bytes_at_most: u64,
    /// The price of all these bytes between the regions, in US dollars.
    pub egress_at_most: Money,
    /// The seconds in which the slowest link between two regions moves its bytes.
    pub seconds_at_most: u64,
}

impl RunEstimate {
    /// The estimate of copies that have not begun.
    #[must_use]
    pub fn of(copies: &[Copy<'_>], rules: &Rules, rates: &Rates) -> Self {
        let mut estimate = Self::default();
        let mut links: BTreeMap<(&Region, &Region), u64> = BTreeMap::new();
        for copy in copies.iter().filter(|copy| !copy.underway) {
            let (from, to) = (&copy.source.region, &rules.destinations[copy.destination].region);
            if from == to {
                continue;
            }
            let bytes = copy.source.size.unwrap_or_default();
            let (count, sum) = match copy.has_base {
                true => (&mut estimate.differences, &mut estimate.differences_bytes_at_most),
                false => (&mut estimate.whole, &mut estimate.whole_bytes_at_most),
            };
            *count += 1;
            *sum = sum.saturating_add(bytes);
            let link = links.entry((from, to)).or_default();
            *link = link.saturating_add(bytes);
        }
        for ((from, to), bytes) in links {
            estimate.egress_at_most += rates.egress_cost(from, to, bytes);
            let seconds = bytes.div_ceil(rates.wan(from, to).max(1));
            estimate.seconds_at_most = estimate.seconds_at_most.max(seconds);
        }
        estimate
    }
}
