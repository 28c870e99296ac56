//! Checks of a resource group: whether it exists, and what the identity may do there.

use goldfleet_ports::error::PortResult;
use goldfleet_ports::inspector::Inspector;
use goldfleet_snapshots::id::GroupRef;

use super::Finding;
use super::access::{Needed, missing};
use super::services::access_error;

/// Checks a resource group. None if it has no problem.
pub(super) async fn examine(
    inspector: &dyn Inspector,
    subject: &str,
    group: &GroupRef,
    needed: &[&Needed],
) -> Option<Finding> {
    match look(inspector, subject, group, needed).await {
        Ok(found) => found,
        Err(error) => Some(access_error(subject.to_owned(), &error, "Reader on the resource group")),
    }
}

async fn look(
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
