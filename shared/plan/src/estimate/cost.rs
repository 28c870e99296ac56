//! The cost of a plan.

use goldfleet_rates::Rates;

use super::Cost;
use crate::content::PlanContent;
use crate::links::Link;

/// The cost of filling stores over these links and then `targets` targets from stores of their own regions.
pub(crate) fn of_plan(rates: &Rates, links: &[Link], targets: u64, content: &PlanContent) -> Cost {
    let seeded: u128 = links.iter().map(|link| u128::from(link.missing.bytes)).sum();
    let chunks: u128 = links.iter().map(|link| u128::from(link.missing.chunks)).sum();
    let writes = u128::from(targets) * u128::from(content.runs);
    let staged = u128::from(targets) * u128::from(content.data_bytes);
    let prices = &rates.requests;
    Cost {
        egress: links.iter().map(|link| link.egress).sum(),
        requests: rates.request_cost(prices.block_write, chunks)
            + rates.request_cost(prices.block_read, chunks + writes)
            + rates.request_cost(prices.page_write, writes),
        storage: rates.storage_cost(rates.storage.block_blob, seeded)
            + rates.storage_cost(rates.storage.page_blob, staged),
    }
}
