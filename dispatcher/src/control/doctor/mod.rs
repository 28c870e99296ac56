//! The doctor: whether a fleet could work, asked of the live services before anything is uploaded. It changes nothing.

mod access;
mod account;
mod elsewhere;
mod finding;
mod services;
mod target;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::stream::{self, StreamExt as _};
use goldfleet_config::targets::TargetsFile;
use goldfleet_model::ids::{AccountName, SubscriptionId};
use goldfleet_model::target::Target;
use goldfleet_plan::first_stores;
use goldfleet_ports::error::PortResult;
use goldfleet_ports::inspector::{AccountFacts, Inspector};
use goldfleet_rates::Rates;

use crate::control::desk::{Desk, DeskError, IN_FLIGHT};
use crate::control::request::plan_order;

pub use finding::{Finding, Level};
pub(crate) use services::container_is_there;

/// Examines configuration, services, permissions and targets, many at once. The findings come in a fixed order.
///
/// # Errors
/// Where the targets file or the rates can't be read.
pub async fn examine(desk: &Desk, inspector: Option<Arc<dyn Inspector>>) -> Result<Vec<Finding>, DeskError> {
    let file = TargetsFile::load(&desk.config.targets.file)?;
    let rates = Rates::load(desk.config.plan.rates.as_deref())?;
    let targets: Vec<&Target> = file.targets.iter().filter(|target| target.enabled).collect();
    let mut findings = vec![targets_found(desk, &file, targets.len())];
    if let Some(inspector) = inspector.as_deref() {
        match inspector.sign_in().await {
            Ok(()) => findings.push(Finding::good("credential", "gives tokens for storage and Resource Manager")),
            Err(error) => {
                let remedy = "check [cloud] credential and what it needs; nothing else can be checked without it";
                findings.push(Finding::error("credential", &error, remedy));
                return Ok(findings);
            }
        }
    }
    findings.extend(services::coordination(desk).await);
    findings.extend(services::store(desk, &desk.config.source.store(), "source store").await);
    for store in &file.stores {
        findings.extend(services::store(desk, store, "store").await);
    }
    match inspector.as_deref() {
        Some(inspector) => findings.extend(cloud(desk, inspector, &file, &targets, &rates).await),
        None => findings.extend(elsewhere::targets(desk, &targets).await),
    }
    Ok(findings)
}

fn targets_found(desk: &Desk, file: &TargetsFile, enabled: usize) -> Finding {
    let path = desk.config.targets.file.display();
    if enabled == 0 {
        let remedy = "add targets, or enable some with 'goldfleet targets enable'";
        return Finding::warning("targets", "no-targets", format!("{path} has no enabled target"), remedy);
    }
    Finding::good("targets", format!("{enabled} of {} in {path} are enabled", file.targets.len()))
}

/// The storage accounts that are to be seen, by subscription.
type Accounts = BTreeMap<SubscriptionId, PortResult<Vec<AccountFacts>>>;

async fn cloud(
    desk: &Desk,
    inspector: &dyn Inspector,
    file: &TargetsFile,
    targets: &[&Target],
    rates: &Rates,
) -> Vec<Finding> {
    let accounts = accounts(desk, inspector, targets).await;
    let stores = store_accounts(desk, file, targets, rates);
    let mut findings = Vec::new();
    for account in &stores {
        findings.extend(services::readable_by_others(desk, inspector, account, file, &accounts).await);
    }
    let examined = stream::iter(targets)
        .map(|target| target::examine(desk, inspector, target, &accounts))
        .buffered(IN_FLIGHT)
        .collect::<Vec<_>>();
    findings.extend(examined.await.into_iter().flatten());
    findings
}

/// The accounts that others read: those of stores that are set by hand, whether a plan needs them or not, and those that a
/// plan for all of the targets would choose.
fn store_accounts(desk: &Desk, file: &TargetsFile, targets: &[&Target], rates: &Rates) -> BTreeSet<AccountName> {
    let mut in_order = targets.to_vec();
    in_order.sort_by_key(|target| plan_order(target));
    let planned = first_stores(&desk.config.source.store(), &in_order, &file.stores_by_region(), rates);
    file.stores.iter().chain(&planned).map(|store| store.account.clone()).collect()
}

async fn accounts(desk: &Desk, inspector: &dyn Inspector, targets: &[&Target]) -> Accounts {
    let source = (desk.config.source.subscription, None);
    let wanted: BTreeMap<SubscriptionId, Option<String>> =
        targets.iter().map(|target| (target.subscription, target.tenant.clone())).chain([source]).collect();
    stream::iter(wanted)
        .map(async |(subscription, tenant)| (subscription, inspector.accounts(&subscription, tenant.as_deref()).await))
        .buffer_unordered(IN_FLIGHT)
        .collect()
        .await
}
