//! What rates must keep to besides being well-formed.

use std::collections::BTreeSet;

use super::{Rates, UNKNOWN};
use crate::config::fault::Fault;
use crate::config::node::Node;

/// The dearest price that is believed, in dollars.
const DEAREST: f64 = 1000.0;

/// The fastest rate that is believed, in whatever unit.
const FASTEST: f64 = 1e7;

/// Everything that is out of its range, section by section.
pub(super) fn check(rates: &Rates, written: &Node) -> Vec<Fault> {
    let mut check = Check { written, faults: Vec::new() };
    check.marks(rates);
    check.prices(rates);
    check.speeds(rates);
    check.places(rates);
    check.pairs(rates);
    check.faults
}

struct Check<'a> {
    written: &'a Node,
    faults: Vec<Fault>,
}

impl Check<'_> {
    fn marks(&mut self, rates: &Rates) {
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
            let message = format!("{gigabyte} bytes are no gigabyte: use 1000000000 or 1073741824");
            self.refuse(&["egress", "gigabyte"], message);
        }
        let requests = &rates.requests;
        self.price(&["requests", "block_write"], requests.block_write);
        self.price(&["requests", "block_read"], requests.block_read);
        self.price(&["requests", "page_write"], requests.page_write);
        self.price(&["requests", "page_read"], requests.page_read);
        self.price(&["storage", "block_blob"], rates.storage.block_blob);
        self.price(&["storage", "page_blob"], rates.storage.page_blob);
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
        for (size, account) in [("large", &rates.accounts.large), ("other", &rates.accounts.other)] {
            self.speed(&["accounts", size, "ingress_gbit_per_second"], account.ingress_gbit_per_second);
            self.speed(&["accounts", size, "egress_gbit_per_second"], account.egress_gbit_per_second);
            self.speed(&["accounts", size, "requests_per_second"], account.requests_per_second);
        }
        let manager = &rates.resource_manager;
        self.speed(&["resource_manager", "write_burst"], manager.write_burst);
        self.speed(&["resource_manager", "writes_per_second"], manager.writes_per_second);
        self.speed(&["resource_manager", "read_burst"], manager.read_burst);
        self.speed(&["resource_manager", "reads_per_second"], manager.reads_per_second);
        self.speed(&["resource_manager", "delete_burst"], manager.delete_burst);
        self.speed(&["resource_manager", "deletes_per_second"], manager.deletes_per_second);
        let seconds = rates.image.seconds;
        if !(0.0..=86_400.0).contains(&seconds) {
            self.refuse(&["image", "seconds"], format!("{seconds} is out of range: use 0 to 86400"));
        }
    }

    fn places(&mut self, rates: &Rates) {
        let known: Vec<&str> = rates.egress.continents.keys().map(String::as_str).collect();
        if known.contains(&UNKNOWN) {
            let message = "regions that are not listed always have the dearest price: name the continent otherwise";
            self.refuse(&["egress", "continents", UNKNOWN], message);
        }
        for (region, place) in &rates.geography.regions {
            if !known.contains(&place.continent.as_str()) {
                let message = format!(
                    "{:?} is no continent with a price: use one of {}, or add it to [egress.continents]",
                    place.continent,
                    known.join(", ")
                );
                self.refuse(&["geography", "regions", region.as_str(), "continent"], message);
            }
        }
    }

    fn pairs(&mut self, rates: &Rates) {
        let mut seen = BTreeSet::new();
        for pair in &rates.wan.pairs {
            let name = format!("from {} to {}", pair.from, pair.to);
            if pair.from == pair.to {
                self.refuse(&["wan", "pair"], format!("{name}: name two regions"));
            }
            if !seen.insert((&pair.from, &pair.to)) {
                self.refuse(&["wan", "pair"], format!("{name} is there already: remove one"));
            }
            if !believable(pair.gbit_per_second) {
                let message = format!("{name}: {} is out of range: use Gbit/s above 0", pair.gbit_per_second);
                self.refuse(&["wan", "pair"], message);
            }
        }
    }

    fn price(&mut self, keys: &[&str], dollars: f64) {
        if !(0.0..=DEAREST).contains(&dollars) {
            self.refuse(keys, format!("{dollars} is out of range: use dollars, 0 to {DEAREST}"));
        }
    }

    fn speed(&mut self, keys: &[&str], rate: f64) {
        if !believable(rate) {
            self.refuse(keys, format!("{rate} is out of range: use 0.001 to {FASTEST}"));
        }
    }

    fn refuse(&mut self, keys: &[&str], message: impl Into<String>) {
        let origin = self.written.origin_of(keys);
        let fault = Fault::new(message).at(origin);
        self.faults.push(keys.iter().rev().fold(fault, |fault, key| fault.under(key)));
    }
}

/// Neither zero, which would make times infinite, nor beyond any service.
fn believable(rate: f64) -> bool {
    (0.001..=FASTEST).contains(&rate)
}
