//! The ranges of rates, checked after parsing.

use std::collections::BTreeSet;

use goldfleet_diagnostics::FieldError;
use goldfleet_diagnostics::Node;
use goldfleet_model::ids::Region;

use super::{AccountLimits, LatencyPair, Rates, UNKNOWN, WanPair};

/// The highest plausible price, in dollars.
const MAX_PRICE: f64 = 1000.0;

/// The highest plausible rate, in any unit.
const MAX_RATE: f64 = 1e7;

/// The longest plausible time of a long-running activity, in seconds.
const DAY: f64 = 86_400.0;

/// The longest plausible time of one request, in milliseconds.
const MINUTE_MS: f64 = 60_000.0;

/// Returns an error for each value that is out of range, by section.
pub(super) fn check(rates: &Rates, written: &Node) -> Vec<FieldError> {
    let mut check = Check { written, faults: Vec::new() };
    check.check_provenance(rates);
    check.prices(rates);
    check.speeds(rates);
    check.times(rates);
    check.check_regions(rates);
    check.pairs(rates);
    check.faults
}

struct Check<'a> {
    written: &'a Node,
    faults: Vec<FieldError>,
}

impl Check<'_> {
    fn check_provenance(&mut self, rates: &Rates) {
        let sections = [
            ("geography", &rates.geography.date, &rates.geography.source),
            ("egress", &rates.egress.date, &rates.egress.source),
            ("requests", &rates.requests.date, &rates.requests.source),
            ("storage", &rates.storage.date, &rates.storage.source),
            ("wan", &rates.wan.date, &rates.wan.source),
            ("blob", &rates.blob.date, &rates.blob.source),
            ("accounts", &rates.accounts.date, &rates.accounts.source),
            ("resource_manager", &rates.resource_manager.date, &rates.resource_manager.source),
            ("image", &rates.image.date, &rates.image.source),
            ("snapshot", &rates.snapshot.date, &rates.snapshot.source),
            ("gallery", &rates.gallery.date, &rates.gallery.source),
            ("latency", &rates.latency.date, &rates.latency.source),
            ("stream", &rates.stream.date, &rates.stream.source),
            ("server_busy", &rates.server_busy.date, &rates.server_busy.source),
            ("control", &rates.control.date, &rates.control.source),
        ];
        for (section, date, source) in sections {
            for (key, text) in [("date", date), ("source", source)] {
                if text.trim().is_empty() {
                    self.refuse(&[section, key], "this is empty: say from when and from whom the figures are");
                }
            }
        }
    }

    fn prices(&mut self, rates: &Rates) {
        for (continent, price) in &rates.egress.continents {
            for (key, price) in [("inside", price.inside), ("leaving", price.leaving)] {
                self.price(&["egress", "continents", continent, key], price);
            }
        }
        let gigabyte = rates.egress.gigabyte;
        if ![1_000_000_000, 1 << 30].contains(&gigabyte) {
            let message = format!("{gigabyte} bytes are not a gigabyte: use 1000000000 or 1073741824");
            self.refuse(&["egress", "gigabyte"], message);
        }
        let requests = &rates.requests;
        self.price(&["requests", "block_write"], requests.block_write);
        self.price(&["requests", "block_read"], requests.block_read);
        self.price(&["requests", "page_write"], requests.page_write);
        self.price(&["requests", "page_read"], requests.page_read);
        self.price(&["storage", "block_blob"], rates.storage.block_blob);
        self.price(&["storage", "page_blob"], rates.storage.page_blob);
        self.price(&["storage", "snapshot"], rates.storage.snapshot);
        if rates.storage.days > 3660 {
            let message = format!("{} is out of range: use 0 to 3660 days", rates.storage.days);
            self.refuse(&["storage", "days"], message);
        }
    }

    fn speeds(&mut self, rates: &Rates) {
        self.speed(&["wan", "gbit_per_second"], rates.wan.gbit_per_second);
        self.speed(&["blob", "page_blob_mib_per_second"], rates.blob.page_blob_mib_per_second);
        self.speed(&["blob", "requests_per_second"], rates.blob.requests_per_second);
        self.speed(&["blob", "copy_inside_account_mb_per_second"], rates.blob.copy_inside_account_mb_per_second);
        self.account(&["accounts", "large"], &rates.accounts.large);
        self.account(&["accounts", "other"], &rates.accounts.other);
        for (name, account) in &rates.accounts.named {
            self.account(&["accounts", "named", name.as_str()], account);
        }
        let manager = &rates.resource_manager;
        self.speed(&["resource_manager", "write_burst"], manager.write_burst);
        self.speed(&["resource_manager", "writes_per_second"], manager.writes_per_second);
        self.speed(&["resource_manager", "read_burst"], manager.read_burst);
        self.speed(&["resource_manager", "reads_per_second"], manager.reads_per_second);
        self.speed(&["resource_manager", "delete_burst"], manager.delete_burst);
        self.speed(&["resource_manager", "deletes_per_second"], manager.deletes_per_second);
        self.speed(&["stream", "mb_per_second"], rates.stream.mb_per_second);
    }

    fn account(&mut self, at: &[&str], account: &AccountLimits) {
        self.speed(&[at, &["ingress_gbit_per_second"]].concat(), account.ingress_gbit_per_second);
        self.speed(&[at, &["egress_gbit_per_second"]].concat(), account.egress_gbit_per_second);
        self.speed(&[at, &["requests_per_second"]].concat(), account.requests_per_second);
    }

    fn times(&mut self, rates: &Rates) {
        let (latency, busy, control) = (&rates.latency, &rates.server_busy, &rates.control);
        self.time(&["image", "seconds"], rates.image.seconds, DAY);
        self.time(&["snapshot", "seconds"], rates.snapshot.seconds, DAY);
        self.time(&["gallery", "replication_seconds"], rates.gallery.replication_seconds, DAY);
        self.time(&["gallery", "usable_seconds"], rates.gallery.usable_seconds, DAY);
        self.time(&["latency", "inside_region_ms"], latency.inside_region_ms, MINUTE_MS);
        self.time(&["latency", "same_continent_ms"], latency.same_continent_ms, MINUTE_MS);
        self.time(&["latency", "other_continent_ms"], latency.other_continent_ms, MINUTE_MS);
        self.time(&["latency", "request_ms"], latency.request_ms, MINUTE_MS);
        self.time(&["server_busy", "behind_seconds"], busy.behind_seconds, DAY);
        self.time(&["server_busy", "retry_after_seconds"], busy.retry_after_seconds, DAY);
        self.time(&["control", "queue_and_table_ms"], control.queue_and_table_ms, MINUTE_MS);
        self.time(&["control", "resource_manager_ms"], control.resource_manager_ms, MINUTE_MS);
        self.time(&["control", "poll_seconds"], control.poll_seconds, DAY);
    }

    fn check_regions(&mut self, rates: &Rates) {
        let known: Vec<&str> = rates.egress.continents.keys().map(String::as_str).collect();
        if known.contains(&UNKNOWN) {
            let message = "regions that are not listed always have the dearest price: name the continent otherwise";
            self.refuse(&["egress", "continents", UNKNOWN], message);
        }
        for (region, place) in &rates.geography.regions {
            if !known.contains(&place.continent.as_str()) {
                let message = format!(
                    "{:?} is not a continent with a price: use one of {}, or add it to [egress.continents]",
                    place.continent,
                    known.join(", ")
                );
                self.refuse(&["geography", "regions", region.as_str(), "continent"], message);
            }
        }
    }

    fn pairs(&mut self, rates: &Rates) {
        let (wan, latency) = (&rates.wan.pairs, &rates.latency.pairs);
        self.distinct("wan", wan.iter().map(|pair| (&pair.from, &pair.to)));
        self.distinct("latency", latency.iter().map(|pair| (&pair.from, &pair.to)));
        for pair in wan.iter().filter(|pair| !in_range(pair.gbit_per_second)) {
            let (WanPair { from, to, .. }, rate) = (pair, pair.gbit_per_second);
            let message = format!("from {from} to {to}: {rate} is out of range: use Gbit/s above 0");
            self.refuse(&["wan", "pair"], message);
        }
        for LatencyPair { from, to, ms } in latency.iter().filter(|pair| !(0.0..=MINUTE_MS).contains(&pair.ms)) {
            let message = format!("from {from} to {to}: {ms} is out of range: use 0 to {MINUTE_MS} milliseconds");
            self.refuse(&["latency", "pair"], message);
        }
    }

    fn distinct<'r>(&mut self, section: &str, pairs: impl Iterator<Item = (&'r Region, &'r Region)>) {
        let mut seen = BTreeSet::new();
        for (from, to) in pairs {
            if from == to {
                self.refuse(&[section, "pair"], format!("from {from} to {to}: name two regions"));
            }
            if !seen.insert((from, to)) {
                self.refuse(&[section, "pair"], format!("from {from} to {to} is there already: remove one"));
            }
        }
    }

    fn price(&mut self, keys: &[&str], dollars: f64) {
        if !(0.0..=MAX_PRICE).contains(&dollars) {
            self.refuse(keys, format!("{dollars} is out of range: use dollars, 0 to {MAX_PRICE}"));
        }
    }

    fn speed(&mut self, keys: &[&str], rate: f64) {
        if !in_range(rate) {
            self.refuse(keys, format!("{rate} is out of range: use 0.001 to {MAX_RATE}"));
        }
    }

    fn time(&mut self, keys: &[&str], time: f64, most: f64) {
        if !(0.0..=most).contains(&time) {
            self.refuse(keys, format!("{time} is out of range: use 0 to {most}"));
        }
    }

    fn refuse(&mut self, keys: &[&str], message: impl Into<String>) {
        let origin = self.written.origin_of(keys);
        let fault = FieldError::new(message).with_origin(origin);
        self.faults.push(keys.iter().rev().fold(fault, |fault, key| fault.with_parent_key(key)));
    }
}

/// Zero would make times infinite, and rates above the limit exceed every service.
fn in_range(rate: f64) -> bool {
    (0.001..=MAX_RATE).contains(&rate)
}
