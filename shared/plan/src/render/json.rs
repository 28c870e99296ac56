//! Plans as JSON.

use goldfleet_rates::Rates;
use serde_json::{Value, json};

use crate::estimate::Estimate;
use crate::{Plan, RouteEstimate};

/// The cost and the time of a plan, its regions, and the sources of the figures. The keys are stable. Money is in US
/// dollars.
#[must_use]
pub fn json(plan: &Plan, rates: &Rates) -> Value {
    json!({
        "stores": plan.tree.stores,
        "regions": plan.regions,
        "estimate": estimate(&plan.estimate),
        "baselines": { "one_source": estimate(&plan.star), "pre_copies": estimate(&plan.pre_copies) },
        "cost_against_time": plan.points,
        "findings": plan.findings,
        "rates": sources(rates),
    })
}

/// The routes of an uploaded version, by their names.
#[must_use]
pub fn routes_json(routes: &[RouteEstimate]) -> Value {
    let route = |route: &RouteEstimate| {
        let count = |number: u128| u64::try_from(number).unwrap_or(u64::MAX);
        let mut value = estimate(&route.estimate);
        value["page_writes"] = json!(count(route.page_writes));
        value["management_writes"] = json!(count(route.management_writes));
        (route.route.to_owned(), value)
    };
    Value::Object(routes.iter().map(route).collect())
}

fn estimate(estimate: &Estimate) -> Value {
    let Estimate { wan_bytes, cost, time } = estimate;
    json!({
        "wan_bytes": u64::try_from(*wan_bytes).unwrap_or(u64::MAX),
        "egress_usd": cost.egress,
        "requests_usd": cost.requests,
        "storage_usd": cost.storage,
        "total_usd": cost.total(),
        "time": time,
    })
}

/// The date and the source of the figures that an estimate uses.
fn sources(rates: &Rates) -> Value {
    json!({
        "egress": { "date": rates.egress.date, "source": rates.egress.source },
        "requests": { "date": rates.requests.date, "source": rates.requests.source },
        "storage": { "date": rates.storage.date, "source": rates.storage.source, "days": rates.storage.days },
        "wan": { "date": rates.wan.date, "source": rates.wan.source },
        "blob": { "date": rates.blob.date, "source": rates.blob.source },
        "accounts": { "date": rates.accounts.date, "source": rates.accounts.source },
        "image": { "date": rates.image.date, "source": rates.image.source },
        "snapshot": { "date": rates.snapshot.date, "source": rates.snapshot.source },
        "gallery": { "date": rates.gallery.date, "source": rates.gallery.source },
    })
}
