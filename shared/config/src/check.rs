//! What a well-formed configuration must keep to besides.

use std::fmt::Display;
use std::ops::RangeInclusive;

use goldfleet_azure_settings::Endpoint;
use goldfleet_azure_settings::{AzureCloud, AzureCoordination, Credential};
use goldfleet_diagnostics::{Fault, Node};

use super::Config;
use super::filter::{HOW_TO_FILTER, read_filter};
use super::values::Time;

const HOUR: u64 = 60 * 60;

/// Everything that is out of its range, in the order of the sections. Keys with a fault in `unread` have a default, or what
/// stands in for one, and are not judged.
pub(super) fn check(config: &Config, written: &Node, unread: &[Fault]) -> Vec<Fault> {
    let mut check = Check { written, unread, faults: Vec::new() };
    check.worker(config);
    check.the_rest(config);
    if let Some(azure) = config.azure_cloud() {
        check.azure(azure);
    }
    if let (Some(coordination), Some(_)) = (config.azure_coordination(), config.azure_cloud()) {
        check.one_identity(coordination);
    }
    if config.identity().is_some_and(|identity| identity.credential == Credential::Emulator) {
        check.emulator(config);
    }
    check.faults
}

struct Check<'a> {
    written: &'a Node,
    unread: &'a [Fault],
    faults: Vec<Fault>,
}

impl Check<'_> {
    fn worker(&mut self, config: &Config) {
        let worker = &config.worker;
        self.within("worker", "concurrency", worker.concurrency, 1..=4096);
        // A beat is a third of a lease, and below a second it would be mostly round trips.
        self.within("worker", "lease", worker.lease, Time::seconds(3)..=Time::seconds(HOUR));
        self.within("worker", "max_attempts", worker.max_attempts, 1..=100);
        self.within("worker", "retry_base", worker.retry_base, Time::millis(1)..=Time::seconds(HOUR));
        self.within("worker", "retry_cap", worker.retry_cap, Time::millis(1)..=Time::seconds(24 * HOUR));
        if worker.retry_cap < worker.retry_base && self.is_read("worker", "retry_base") {
            let message = format!("{} is less than retry_base, {}: swap them", worker.retry_cap, worker.retry_base);
            self.refuse("worker", "retry_cap", message);
        }
        self.within("worker", "poll", worker.poll, Time::millis(1)..=Time::seconds(300));
        self.within("worker", "chunk_requests", worker.chunk_requests, 1..=1024);
        self.within("worker", "seed_requests", worker.seed_requests, 1..=1024);
        self.within("worker", "requests", worker.requests, 1..=4096);
    }

    fn the_rest(&mut self, config: &Config) {
        self.within("upload", "requests", config.upload.requests, 1..=1024);
        self.within("dispatch", "sweep", config.dispatch.sweep, Time::millis(10)..=Time::seconds(HOUR));
        self.within("dispatch", "patience", config.dispatch.patience, Time::seconds(1)..=Time::seconds(24 * HOUR));
        let year = Time::seconds(366 * 24 * HOUR);
        if let Some(within) = config.plan.within {
            self.within("plan", "within", within, Time::seconds(1)..=year);
        }
        self.within("cleanup", "chunk_grace", config.cleanup.chunk_grace, Time::seconds(1)..=year);
        if let Some(level) = &config.log.level
            && read_filter(level).is_err()
        {
            self.refuse("log", "level", format!("{level:?} is no log filter: {HOW_TO_FILTER}"));
        }
    }

    fn azure(&mut self, azure: &AzureCloud) {
        if let Some(endpoint) = &azure.blob_endpoint
            && !endpoint.names_account()
        {
            let message = format!("\"{endpoint}\" is the same for every account: put {{account}} where its name goes");
            self.refuse("cloud", "blob_endpoint", message);
        }
        if let Some(suffix) = &azure.blob_suffix {
            let good = suffix.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(&byte))
                && suffix.starts_with(|first: char| first.is_ascii_alphanumeric());
            if !good {
                let message = format!("{suffix:?} is no host suffix: write it like 'blob.core.windows.net'");
                self.refuse("cloud", "blob_suffix", message);
            }
        }
    }

    /// A process has one credential: that of the cloud, where the cloud is Azure.
    fn one_identity(&mut self, coordination: &AzureCoordination) {
        let given = [
            ("environment", coordination.environment.is_some()),
            ("credential", coordination.credential.is_some()),
            ("client_id", coordination.client_id.is_some()),
            ("ca_certificate", coordination.ca_certificate.is_some()),
        ];
        for (key, _) in given.into_iter().filter(|(_, given)| *given) {
            self.refuse("coordination", key, format!("a process has one identity: say it as {key} of [cloud]"));
        }
    }

    /// An unsigned token must never be sent to anyone but an emulator on this machine.
    fn emulator(&mut self, config: &Config) {
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
                self.refuse(section, key, message.to_owned());
            }
        }
    }

    fn within<T: PartialOrd + Display>(&mut self, section: &str, key: &str, value: T, range: RangeInclusive<T>) {
        if !range.contains(&value) {
            let message = format!("{value} is out of range: use {} to {}", range.start(), range.end());
            self.refuse(section, key, message);
        }
    }

    /// Whether what the configuration has for a key is what was written, or the default where nothing was.
    fn is_read(&self, section: &str, key: &str) -> bool {
        !self.unread.iter().any(|fault| fault.keys().iter().map(String::as_str).eq([section, key]))
    }

    fn refuse(&mut self, section: &str, key: &str, message: String) {
        if !self.is_read(section, key) {
            return;
        }
        let origin = self.written.origin_of(&[section, key]);
        self.faults.push(Fault::new(message).at(origin).under(key).under(section));
    }
}
