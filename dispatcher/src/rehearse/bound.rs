//! What no fleet could beat: each limit taken alone, as if nothing else took any time.

use std::collections::BTreeMap;

use goldfleet_shared::model::ids::{Region, SubscriptionId};
use goldfleet_shared::modelled::Limit;
use goldfleet_shared::rates::Rates;
use serde::Serialize;

use super::Rehearsal;

/// The time that one limit alone takes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Term {
    /// The limit.
    pub limit: Limit,
    /// The region, account or subscription that it takes longest for.
    pub place: String,
    /// Seconds.
    pub seconds: f64,
}

/// A time to the last image that no fleet could beat: the time that an image takes, and the longest of the terms.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Bound {
    /// Seconds in all.
    pub seconds: f64,
    /// Seconds that making an image takes.
    pub image: f64,
    /// What the limits take, the longest first.
    pub terms: Vec<Term>,
}

impl Bound {
    /// The bound of a rehearsal, where `wan` bytes have to go to each remote region.
    #[must_use]
    pub fn of(rehearsal: &Rehearsal, wan: u64) -> Self {
        let rates = &rehearsal.rates;
        let manifest = &rehearsal.image.1;
        let data = manifest.data_bytes();
        let runs: u64 = manifest.chunks.iter().map(|chunk| chunk.runs.len() as u64).sum();
        let mut terms = vec![
            Term {
                limit: Limit::PageBlob,
                place: "every target".to_owned(),
                seconds: seconds(data, as_f64(rates.page_blob())),
            },
            Term {
                limit: Limit::BlobRequests,
                place: "every target".to_owned(),
                seconds: seconds(runs, rates.blob.requests_per_second),
            },
        ];
        terms.extend(regional(rehearsal, rates, data, wan));
        terms.extend(images(rehearsal, rates));
        terms.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
        let image = rates.image.seconds;
        Self { seconds: image + terms.first().map_or(0.0, |term| term.seconds), image, terms }
    }
}

/// The links to regions, and what leaves each region's one store.
fn regional(rehearsal: &Rehearsal, rates: &Rates, data: u64, wan: u64) -> Vec<Term> {
    let source = &rehearsal.config.source.region;
    let mut targets: BTreeMap<&Region, u64> = BTreeMap::new();
    for target in &rehearsal.targets.targets {
        *targets.entry(&target.region).or_default() += 1;
    }
    let remote = targets.keys().filter(|region| **region != source).count() as u64;
    targets.entry(source).or_default();
    let mut terms = Vec::new();
    for (region, count) in targets {
        if region != source {
            let rate = as_f64(rates.wan(source, region));
            terms.push(Term { limit: Limit::Wan, place: region.to_string(), seconds: seconds(wan, rate) });
        }
        let leaves = count * data + if region == source { remote * wan } else { 0 };
        let rate = as_f64(rates.account(region).egress());
        terms.push(Term { limit: Limit::AccountEgress, place: region.to_string(), seconds: seconds(leaves, rate) });
    }
    terms
}

/// Images that one subscription asks for.
fn images(rehearsal: &Rehearsal, rates: &Rates) -> Option<Term> {
    let mut counts: BTreeMap<SubscriptionId, u32> = BTreeMap::new();
    for target in &rehearsal.targets.targets {
        *counts.entry(target.subscription).or_default() += 1;
    }
    let (subscription, most) = counts.into_iter().max_by_key(|(_, count)| *count)?;
    let arm = &rates.resource_manager;
    let over = (f64::from(most) - arm.write_burst).max(0.0);
    Some(Term { limit: Limit::ResourceManager, place: subscription.to_string(), seconds: over / arm.writes_per_second })
}

fn seconds(amount: u64, rate: f64) -> f64 {
    as_f64(amount) / rate
}

#[expect(clippy::cast_precision_loss, reason = "shown with a few digits")]
fn as_f64(number: u64) -> f64 {
    number as f64
}
