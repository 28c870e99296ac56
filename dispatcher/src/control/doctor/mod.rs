//! The doctor: checks on the live services whether the fleet can work, before anything is uploaded. It changes nothing.

mod access;
mod account;
mod directory_cloud;
mod finding;
mod gallery;
mod group;
mod hub;
pub mod probe;
mod services;
mod sources;
mod sync;
mod target;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::stream::{self, StreamExt as _};
use goldfleet_config::Config;
use goldfleet_config::UploadRoute;
use goldfleet_config::targets::TargetsFile;
use goldfleet_galleries::settings::Gallery;
use goldfleet_model::ids::{AccountName, Region, SubscriptionId};
use goldfleet_model::target::Target;
use goldfleet_plan::stores_of_first_rollout;
use goldfleet_ports::Ports;
use goldfleet_ports::error::PortResult;
use goldfleet_ports::inspector::{AccountFacts, Inspector};
use goldfleet_rates::Rates;

use crate::control::context::{ControlContext, ControlError, MAX_IN_FLIGHT};
use crate::control::request::plan_order;
use crate::control::sample_regions::similar_region;

pub use finding::{Finding, Level};
use probe::questions::Answer;
use probe::record::{ProbeResult, results};
pub(crate) use services::container_exists;
pub use sources::AskedSources;

/// Checks configuration, services, permissions and targets concurrently, and then the sources that are asked for. The
/// findings have a fixed order.
///
/// # Errors
/// If the targets file or the rates cannot be read.
pub async fn examine(
    control: &ControlContext,
    inspector: Option<Arc<dyn Inspector>>,
    asked: &AskedSources,
) -> Result<Vec<Finding>, ControlError> {
    let file = TargetsFile::load(&control.config.targets.file)?;
    let rates = Rates::load(control.config.plan.rates.as_deref())?;
    let targets: Vec<&Target> = file.targets.iter().filter(|target| target.enabled).collect();
    let mut findings = vec![configuration(&control.config), targets_found(&control.config, &file, targets.len())];
    findings.extend(unknown_regions(&targets));
    if let Some(inspector) = inspector.as_deref() {
        match inspector.sign_in().await {
            Ok(()) => findings.push(Finding::ok("credential", "gives tokens for storage and Resource Manager")),
            Err(error) => {
                let remedy = "check [cloud] credential and what it needs; nothing else can be checked without it";
                findings.push(Finding::from_port_error("credential", &error, remedy));
                return Ok(findings);
            }
        }
    }
    findings.extend(services::coordination(&control.ports, &control.config).await);
    findings.extend(probed(&control.ports).await);
    findings
        .extend(services::store(&control.ports, &control.config, &control.config.source.store(), "source store").await);
    for store in &file.stores {
        findings.extend(services::store(&control.ports, &control.config, store, "store").await);
    }
    match inspector.as_deref() {
        Some(inspector) => {
            findings.extend(cloud(control, inspector, &file, &targets, &rates).await);
            findings.extend(hub::examine(control, inspector, &file).await);
            for sync in &control.config.sync {
                findings.extend(sync::examine(inspector, sync, &control.config.tenants).await);
            }
        }
        None => findings.extend(directory_cloud::targets(&control.ports, &control.config, &targets).await),
    }
    let galleries: Vec<&Gallery> = file.galleries.iter().filter(|gallery| gallery.enabled).collect();
    let newest = if galleries.is_empty() { Vec::new() } else { gallery::newest_versions(control).await };
    for gallery in galleries {
        findings.extend(
            gallery::examine(&control.ports, &control.config, inspector.as_deref(), (gallery, &file), &newest).await,
        );
    }
    findings.extend(sources::examine(control, inspector.as_deref(), asked).await);
    Ok(findings)
}

/// The newest stored result of the probe for each pair of places. Without tables there are none.
async fn probed(ports: &Ports) -> Vec<Finding> {
    let mut newest: BTreeMap<Vec<String>, ProbeResult> = BTreeMap::new();
    for result in results(ports.records.as_ref()).await.unwrap_or_default() {
        match newest.get(&result.places) {
            Some(known) if known.at >= result.at => {}
            _ => drop(newest.insert(result.places.clone(), result)),
        }
    }
    let finding = |(places, result): (Vec<String>, ProbeResult)| {
        let measured = result.measurements.iter().filter(|found| found.answer != Answer::Unmeasured);
        let answers: Vec<String> = measured.map(|found| format!("{} {}", found.id, found.answer.as_str())).collect();
        let message = format!("measured on {}: {}", result.at.strftime("%Y-%m-%d"), answers.join(", "));
        Finding::ok(format!("probe {}", places.join(" ")), message)
    };
    newest.into_iter().map(finding).collect()
}

fn configuration(config: &Config) -> Finding {
    let file = config.file.as_ref();
    let text = file.map_or_else(|| "environment variables only, no file".to_owned(), |file| file.display().to_string());
    Finding::ok("configuration", text)
}

/// Regions that are most likely misspelt. The list of known regions is not complete, because clouds add regions.
fn unknown_regions(targets: &[&Target]) -> Vec<Finding> {
    let regions: BTreeSet<&Region> = targets.iter().map(|target| &target.region).collect();
    let misspelt = regions.into_iter().filter_map(|region| Some((region, similar_region(region)?)));
    let finding = |(region, similar): (&Region, &str)| {
        let message = format!("{region} is not a known region, but {similar} is");
        Finding::warning("targets", "region-unknown", message, "correct the region in the targets file")
    };
    misspelt.map(finding).collect()
}

fn targets_found(config: &Config, file: &TargetsFile, enabled: usize) -> Finding {
    let path = config.targets.file.display();
    if enabled == 0 {
        let remedy = "add targets, or enable some with 'goldfleet targets enable'";
        return Finding::warning("targets", "no-targets", format!("{path} has no enabled target"), remedy);
    }
    Finding::ok("targets", format!("{enabled} of {} in {path} are enabled", file.targets.len()))
}

/// The visible storage accounts, by subscription.
type Accounts = BTreeMap<SubscriptionId, PortResult<Vec<AccountFacts>>>;

async fn cloud(
    control: &ControlContext,
    inspector: &dyn Inspector,
    file: &TargetsFile,
    targets: &[&Target],
    rates: &Rates,
) -> Vec<Finding> {
    let accounts = accounts(&control.config, inspector, targets).await;
    let stores = store_accounts(&control.config, file, targets, rates);
    let mut findings = Vec::new();
    for account in &stores {
        findings.extend(services::readable_by_others(&control.config, inspector, account, file, &accounts).await);
    }
    let examined = stream::iter(targets)
        .map(|target| target::examine(control, inspector, (target, file), &accounts))
        .buffered(MAX_IN_FLIGHT)
        .collect::<Vec<_>>();
    findings.extend(examined.await.into_iter().flatten());
    findings
}

/// The accounts from which other accounts read: those of configured stores, even if no plan needs them, and those that
/// a plan for all targets would choose.
fn store_accounts(config: &Config, file: &TargetsFile, targets: &[&Target], rates: &Rates) -> BTreeSet<AccountName> {
    let mut in_order = targets.to_vec();
    in_order.sort_by_key(|target| plan_order(target));
    let planned = match config.plan.route {
        UploadRoute::Staging => {
            stores_of_first_rollout(&config.source.store(), &in_order, &file.stores_by_region(), rates)
        }
        // Its stores are the configured ones.
        UploadRoute::Region => Vec::new(),
    };
    file.stores.iter().chain(&planned).map(|store| store.account.clone()).collect()
}

async fn accounts(config: &Config, inspector: &dyn Inspector, targets: &[&Target]) -> Accounts {
    let source = (config.source.subscription, None);
    let wanted: BTreeMap<SubscriptionId, Option<String>> =
        targets.iter().map(|target| (target.subscription, target.tenant.clone())).chain([source]).collect();
    stream::iter(wanted)
        .map(async |(subscription, tenant)| (subscription, inspector.accounts(&subscription, tenant.as_deref()).await))
        .buffer_unordered(MAX_IN_FLIGHT)
        .collect()
        .await
}
