//! The checks of a configuration after parsing, such as ranges.

use std::fmt::Display;
use std::ops::RangeInclusive;

use goldfleet_azure_settings::Endpoint;
use goldfleet_azure_settings::{AzureCloud, AzureCoordination, Credential};
use goldfleet_diagnostics::{FieldError, Node};

use super::Config;
use super::filter::{FILTER_HELP, parse_filter};
use super::read::SYNC;
use super::values::HumanDuration;

const HOUR: u64 = 60 * 60;

/// Returns an error for each invalid value, in the order of the sections. Keys with an error in `unread` contain a
/// default or a placeholder and are not checked.
pub(super) fn check(config: &Config, written: &Node, unread: &[FieldError]) -> Vec<FieldError> {
    let mut check = Check { written, unread, faults: Vec::new() };
    check.worker(config);
    check.other_sections(config);
    check.syncs(config);
    if let Some(azure) = config.azure_cloud() {
        check.azure(azure);
    }
    if let (Some(coordination), Some(_)) = (config.azure_coordination(), config.azure_cloud()) {
        check.check_identity(coordination);
    }
    if config.identity().is_some_and(|identity| identity.credential == Credential::Emulator) {
        check.check_emulator(config);
    }
    check.faults
}

struct Check<'a> {
    written: &'a Node,
    unread: &'a [FieldError],
    faults: Vec<FieldError>,
}

impl Check<'_> {
    fn worker(&mut self, config: &Config) {
        let worker = &config.worker;
        self.check_range("worker", "concurrency", worker.concurrency, 1..=4096);
        // A heartbeat is sent after a third of the lease. If it were shorter than a second, it would mostly consist of
        // round trips.
        self.check_range("worker", "lease", worker.lease, HumanDuration::seconds(3)..=HumanDuration::seconds(HOUR));
        self.check_range("worker", "max_attempts", worker.max_attempts, 1..=100);
        self.check_range(
            "worker",
            "retry_base",
            worker.retry_base,
            HumanDuration::millis(1)..=HumanDuration::seconds(HOUR),
        );
        self.check_range(
            "worker",
            "retry_cap",
            worker.retry_cap,
            HumanDuration::millis(1)..=HumanDuration::seconds(24 * HOUR),
        );
        if worker.retry_cap < worker.retry_base && self.was_parsed("worker", "retry_base") {
            let message = format!("{} is less than retry_base, {}: swap them", worker.retry_cap, worker.retry_base);
            self.push_error("worker", "retry_cap", message);
        }
        self.check_range(
            "worker",
            "max_retry_after",
            worker.max_retry_after,
            HumanDuration::seconds(1)..=HumanDuration::seconds(24 * HOUR),
        );
        self.check_range("worker", "poll", worker.poll, HumanDuration::millis(1)..=HumanDuration::seconds(300));
        self.check_range("worker", "chunk_requests", worker.chunk_requests, 1..=1024);
        self.check_range("worker", "seed_requests", worker.seed_requests, 1..=1024);
        self.check_range("worker", "requests", worker.requests, 1..=4096);
    }

    fn other_sections(&mut self, config: &Config) {
        self.check_range("upload", "requests", config.upload.requests, 1..=1024);
        self.check_range(
            "dispatch",
            "sweep",
            config.dispatch.sweep,
            HumanDuration::millis(10)..=HumanDuration::seconds(HOUR),
        );
        let year = HumanDuration::seconds(366 * 24 * HOUR);
        if let Some(within) = config.plan.within {
            self.check_range("plan", "within", within, HumanDuration::seconds(1)..=year);
        }
        for fault in config.images.tag_faults() {
            self.push_error("images", "tags", fault);
        }
        self.check_range("cleanup", "chunk_grace", config.cleanup.chunk_grace, HumanDuration::seconds(1)..=year);
        if let Some(level) = &config.log.level
            && parse_filter(level).is_err()
        {
            self.push_error("log", "level", format!("{level:?} is not a log filter: {FILTER_HELP}"));
        }
    }

    fn syncs(&mut self, config: &Config) {
        let year = HumanDuration::seconds(366 * 24 * HOUR);
        for (number, sync) in (1..).zip(&config.sync) {
            let item = format!("[{number}]");
            let mut faults = sync.faults();
            let unread = |keys: &[&str]| {
                let mut below = self.unread.iter().filter(|fault| is_below(fault, SYNC, &item));
                below
                    .any(|fault| keys.is_empty() || fault.keys().get(2).is_some_and(|key| keys.contains(&key.as_str())))
            };
            if !unread(&["tags", "names", "families"]) {
                faults.extend(sync.selection_fault());
            }
            let is_readable = faults.is_empty() && !unread(&[]);
            if is_readable {
                faults.extend(sync.contradictions());
            }
            let earlier = &config.sync[..number - 1];
            if earlier.iter().any(|other| other.name.eq_ignore_ascii_case(&sync.name)) {
                faults.push(("name", format!("{:?} is the name of an earlier sync: use another one", sync.name)));
            }
            let least = HumanDuration::seconds(60);
            let ranges = [("min_age", sync.min_age), ("max_age", sync.max_age), ("grace", Some(sync.grace))];
            let zero = HumanDuration::seconds(0);
            let ranges = ranges.into_iter().map(|(key, value)| (key, value, zero));
            for (key, value, least) in ranges.chain([("every", sync.every, least)]) {
                if let Some(value) = value.filter(|value| !(least..=year).contains(value)) {
                    faults.push((key, format!("{value} is out of range: use {least} to {year}")));
                }
            }
            for (key, message) in faults {
                self.push_item_error(&item, key, message);
            }
        }
    }

    fn push_item_error(&mut self, item: &str, key: &str, message: String) {
        if self.unread.iter().any(|fault| is_below(fault, SYNC, item) && fault.keys().get(2).is_some_and(|k| k == key))
        {
            return;
        }
        let keys = [SYNC, item, key];
        let origin = self.written.origin_of(&keys).or_else(|| self.written.origin_of(&keys[..2]));
        let fault = FieldError::new(message).with_origin(origin);
        self.faults.push(keys.into_iter().rev().fold(fault, FieldError::with_parent_key));
    }

    fn azure(&mut self, azure: &AzureCloud) {
        if let Some(endpoint) = &azure.blob_endpoint
            && !endpoint.names_account()
        {
            let message = format!("\"{endpoint}\" is the same for every account: put {{account}} where its name goes");
            self.push_error("cloud", "blob_endpoint", message);
        }
        if let Some(suffix) = &azure.blob_suffix {
            let good = suffix.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(&byte))
                && suffix.starts_with(|first: char| first.is_ascii_alphanumeric());
            if !good {
                let message = format!("{suffix:?} is not a host suffix: write it like 'blob.core.windows.net'");
                self.push_error("cloud", "blob_suffix", message);
            }
        }
    }

    /// A process has one credential. If the cloud is Azure, it is the credential of `[cloud]`.
    fn check_identity(&mut self, coordination: &AzureCoordination) {
        let given = [
            ("environment", coordination.environment.is_some()),
            ("credential", coordination.credential.is_some()),
            ("client_id", coordination.client_id.is_some()),
            ("ca_certificate", coordination.ca_certificate.is_some()),
        ];
        for (key, _) in given.into_iter().filter(|(_, given)| *given) {
            self.push_error("coordination", key, format!("a process has one identity: set {key} in [cloud] instead"));
        }
    }

    /// The unsigned token of the emulator must only be sent to a process on this machine.
    fn check_emulator(&mut self, config: &Config) {
        let mut endpoints: Vec<(&str, &str, Option<&Endpoint>)> = Vec::new();
        if let Some(azure) = config.azure_cloud() {
            endpoints.push(("cloud", "blob_endpoint", azure.blob_endpoint.as_ref()));
            endpoints.push(("cloud", "resource_manager_endpoint", azure.resource_manager_endpoint.as_ref()));
        }
        if let Some(azure) = config.azure_coordination() {
            endpoints.push(("coordination", "queue_endpoint", azure.queue_endpoint.as_ref()));
            endpoints.push(("coordination", "table_endpoint", azure.table_endpoint.as_ref()));
        }
        for (section, key, endpoint) in endpoints {
            if !endpoint.is_some_and(Endpoint::is_loopback) {
                let message = "credential = \"emulator\" needs a loopback address here, such as 'https://127.0.0.1:10000/{account}'";
                self.push_error(section, key, message.to_owned());
            }
        }
    }

    fn check_range<T: PartialOrd + Display>(&mut self, section: &str, key: &str, value: T, range: RangeInclusive<T>) {
        if !range.contains(&value) {
            let message = format!("{value} is out of range: use {} to {}", range.start(), range.end());
            self.push_error(section, key, message);
        }
    }

    /// Whether the value of a key was written or is the default, and is not a placeholder for an invalid one.
    fn was_parsed(&self, section: &str, key: &str) -> bool {
        !self.unread.iter().any(|fault| fault.keys().iter().map(String::as_str).eq([section, key]))
    }

    fn push_error(&mut self, section: &str, key: &str, message: String) {
        if !self.was_parsed(section, key) {
            return;
        }
        let origin = self.written.origin_of(&[section, key]);
        self.faults.push(FieldError::new(message).with_origin(origin).with_parent_key(key).with_parent_key(section));
    }
}

/// Whether a fault is in an item of a list.
fn is_below(fault: &FieldError, list: &str, item: &str) -> bool {
    matches!(fault.keys(), [first, second, ..] if first == list && second == item)
}
