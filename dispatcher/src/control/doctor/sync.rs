//! Checks of a sync: its resource groups, and what the identity may do there.

use std::collections::BTreeSet;

use goldfleet_config::{Sync, SyncDestination};
use goldfleet_model::ids::SubscriptionId;
use goldfleet_model::resource::ResourceType;
use goldfleet_model::tenants::Tenants;
use goldfleet_ports::inspector::Inspector;
use goldfleet_snapshots::id::GroupRef;
use goldfleet_snapshots::rules::DeletePolicy;

use crate::control::snapshots::groups_of;

use super::access::{
    EXPORT_SOURCES, EXPORTED_DISKS, LOCKS, Needed, REPLICA_REMOVAL, REPLICAS, SCRATCH, SNAPSHOT_SOURCES,
};
use super::{Finding, group};

/// Checks a sync. A sync without problems gives a single finding.
pub(super) async fn examine(inspector: &dyn Inspector, sync: &Sync, tenants: &Tenants) -> Vec<Finding> {
    let subject = format!("sync {}", sync.name);
    let mut findings = Vec::new();
    for (group, needed) in groups(sync, tenants) {
        findings.extend(group::examine(inspector, &subject, &group, &needed).await);
    }
    findings.extend(unregistered(inspector, &subject, sync).await);
    if findings.is_empty() {
        findings.push(Finding::ok(subject, "ready"));
    }
    findings
}

/// The subscriptions of a sync that are not registered for snapshots. An identity without rights on a whole
/// subscription cannot read the registration. If it is missing, the first copy fails.
async fn unregistered(inspector: &dyn Inspector, subject: &str, sync: &Sync) -> Vec<Finding> {
    let subscriptions: BTreeSet<SubscriptionId> = groups_of(sync).into_iter().map(|group| group.subscription).collect();
    let mut findings = Vec::new();
    for subscription in subscriptions {
        if let Ok(None) = inspector.regions_of(ResourceType::Snapshot, &subscription, None).await {
            let message = format!("subscription {subscription} is not registered for Microsoft.Compute");
            let remedy =
                "run 'goldfleet setup --register', which needs Microsoft.Compute/register/action on the subscription";
            findings.push(Finding::error(subject, "provider-not-registered", message, remedy));
        }
    }
    findings
}

/// The groups of a sync, each with what the identity must be allowed there.
fn groups(sync: &Sync, tenants: &Tenants) -> Vec<(GroupRef, Vec<&'static Needed>)> {
    let mut replicas: Vec<&Needed> = REPLICAS.iter().collect();
    if sync.delete == DeletePolicy::Mirror {
        replicas.extend(&REPLICA_REMOVAL);
    }
    if sync.lock {
        replicas.extend(&LOCKS);
    }
    let is_export = |to: &SyncDestination| tenants.differ(&sync.from.subscription, &to.subscription);
    let destinations = sync.to.iter().map(|to| {
        let disks: &[Needed] = if is_export(to) { &EXPORTED_DISKS } else { &[] };
        (to.group(), replicas.iter().copied().chain(disks).collect())
    });
    let exports: &[Needed] = if sync.to.iter().any(is_export) { &EXPORT_SOURCES } else { &[] };
    let source = (sync.from.clone(), SNAPSHOT_SOURCES.iter().chain(exports).collect());
    let scratch = sync.scratch.clone().map(|group| (group, SCRATCH.iter().collect()));
    std::iter::once(source).chain(destinations).chain(scratch).collect()
}
