//! Estimates without a plan, with the same rates: every target copies from one source page blob, or from its own copy
//! of it in the source account.

use goldfleet_model::store::Store;
use goldfleet_model::target::Target;
use goldfleet_rates::{Rates, round_to_u64};

use super::{AccountLocation, Cost, Estimate, Limit, Loads};
use crate::content::PlanContent;
use crate::regions::time_for_many;

/// Every target copies from the same page blob in the source account.
#[must_use]
pub fn star(rates: &Rates, source: &Store, targets: &[&Target], content: &PlanContent) -> Estimate {
    let mut loads = direct(rates, source, targets, content);
    let count = targets.len() as u128;
    let rate = loads.page_blob_time(count * u128::from(content.data_bytes));
    let requests = loads.blob_requests_time(count * u128::from(content.runs));
    loads.add_limit(Limit::SourceBlob, rate);
    loads.add_limit(Limit::SourceBlobRequests, requests);
    Estimate {
        wan_bytes: loads.wan_bytes(),
        cost: direct_cost(rates, source, targets, content),
        time: loads.time(&loads.times(), None, |_| true),
    }
}

/// The page blob is first copied within the source account, once per target. Then each target copies from its own copy.
#[must_use]
pub fn pre_copies(rates: &Rates, source: &Store, targets: &[&Target], content: &PlanContent) -> Estimate {
    let loads = direct(rates, source, targets, content);
    let copies = (targets.len() as u128).saturating_sub(1);
    let bytes = copies * u128::from(content.data_bytes);
    let copying = time_for_many(bytes, round_to_u64(rates.blob.copy_inside_account_mb_per_second * 1e6));
    let mut cost = direct_cost(rates, source, targets, content);
    cost.requests += rates.request_cost(rates.requests.page_write, copies);
    cost.storage += rates.storage_cost(rates.storage.page_blob, bytes);
    Estimate {
        wan_bytes: loads.wan_bytes(),
        cost,
        time: loads.time(&loads.times(), Some((Limit::PreCopies, copying)), |_| true),
    }
}

/// The loads if every target reads from the source account.
fn direct<'a>(rates: &'a Rates, source: &'a Store, targets: &[&'a Target], content: &PlanContent) -> Loads<'a> {
    let mut loads = Loads::new(rates);
    for target in targets {
        loads.add_transfer(
            AccountLocation::from(source),
            AccountLocation::from(*target),
            content.data_bytes,
            content.runs,
        );
    }
    loads.add_targets(targets, content);
    loads
}

fn direct_cost(rates: &Rates, source: &Store, targets: &[&Target], content: &PlanContent) -> Cost {
    let egress = |target: &&Target| rates.egress_cost(&source.region, &target.region, content.data_bytes);
    let count = targets.len() as u128;
    let requests = count * u128::from(content.runs);
    Cost {
        egress: targets.iter().map(egress).sum(),
        requests: rates.request_cost(rates.requests.page_write, requests)
            + rates.request_cost(rates.requests.page_read, requests),
        storage: rates.storage_cost(rates.storage.page_blob, count * u128::from(content.data_bytes)),
    }
}
