//! Checks of a sync: its resource groups, and what the identity may do there.

use std::collections::BTreeSet;

use goldfleet_config::Sync;
use goldfleet_model::ids::SubscriptionId;
use goldfleet_ports::error::PortResult;
use goldfleet_ports::inspector::Inspector;
use goldfleet_snapshots::id::GroupRef;
use goldfleet_snapshots::rules::DeletePolicy;

use crate::control::snapshots::groups_of;

use super::Finding;
use super::access::{LOCKS, Needed, REPLICA_REMOVAL, REPLICAS, SCRATCH, SNAPSHOT_SOURCES, missing};
use super::services::access_error;

/// Checks a sync. A sync without problems gives a single finding.
pub(super) async fn examine(inspector: &dyn Inspector, sync: &Sync) -> Vec<Finding> {
    let subject = format!("sync {}", sync.name);
    let mut findings = Vec::new();
    for (group, needed) in groups(sync) {
        match look(inspector, &subject, &group, &needed).await {
            Ok(found) => findings.extend(found),
            Err(error) => findings.push(access_error(subject.clone(), &error, "Reader on the resource group")),
        }
    }
    findings.extend(unregistered(inspector, &subject, sync).await);
    if findings.is_empty() {
        findings.push(Finding::ok(subject, "ready"));
    }
    findings
}

/// The subscriptions of a sync that are not registered for snapshots. An identity without rights on a whole subscription
/// cannot read that, and its first copy reports it.
async fn unregistered(inspector: &dyn Inspector, subject: &str, sync: &Sync) -> Vec<Finding> {
    let subscriptions: BTreeSet<SubscriptionId> = groups_of(sync).into_iter().map(|group| group.subscription).collect();
    let mut findings = Vec::new();
    for subscription in subscriptions {
        if let Ok(None) = inspector.image_regions(&subscription, None).await {
            let message = format!("subscription {subscription} is not registered for Microsoft.Compute");
            let remedy =
                "run 'goldfleet setup --register', which needs Microsoft.Compute/register/action on the subscription";
            findings.push(Finding::error(subject, "provider-not-registered", message, remedy));
        }
    }
    findings
}

/// The groups of a sync, each with what the identity must be allowed there.
fn groups(sync: &Sync) -> Vec<(GroupRef, Vec<&'static Needed>)> {
    let mut replicas: Vec<&Needed> = REPLICAS.iter().collect();
    if sync.delete == DeletePolicy::Mirror {
        replicas.extend(&REPLICA_REMOVAL);
    }
    if sync.lock {
        replicas.extend(&LOCKS);
    }
    let destinations = sync.to.iter().map(|to| (to.group(), replicas.clone()));
    let source = (sync.from.clone(), SNAPSHOT_SOURCES.iter().collect());
    let scratch = sync.scratch.clone().map(|group| (group, SCRATCH.iter().collect()));
    std::iter::once(source).chain(destinations).chain(scratch).collect()
}

/// Checks that a resource group exists, and what the identity may do there.
pub(super) async fn look(
    inspector: &dyn Inspector,
    subject: &str,
    GroupRef { subscription, resource_group }: &GroupRef,
    needed: &[&Needed],
) -> PortResult<Option<Finding>> {
    if !inspector.has_group(subscription, resource_group, None).await? {
        let message = format!("there is no resource group {resource_group} in subscription {subscription}");
        let remedy = format!("az group create --name {resource_group} --location REGION --subscription {subscription}");
        return Ok(Some(Finding::error(subject, "resource-group-not-found", message, remedy)));
    }
    let scope = format!("/subscriptions/{subscription}/resourceGroups/{resource_group}");
    let permissions = inspector.permissions(&scope, None).await?;
    let lacking = missing(&permissions, needed.iter().copied());
    Ok((!lacking.is_empty()).then(|| {
        let message = format!("the identity may not {} in {subscription}/{resource_group}", lacking.join(", "));
        Finding::error(subject, "authorization-failed", message, "give it the custom role of infra/bicep on the group")
    }))
}
