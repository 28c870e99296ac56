//! Subscriptions and their regions. Source: specification, Microsoft.Resources subscriptions 2022-12-01.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::access;
use super::pipeline::{Call, page};
use super::resources::Subscription;
use super::response::{ArmAnswer, HandlerResult};
use super::state::TenantState;

/// The error for a subscription that does not exist. Source: seen; it does not reveal whether another tenant has it.
pub(super) fn not_found(id: &str) -> ArmAnswer {
    let message = format!("The subscription '{id}' could not be found.");
    ArmAnswer::error(StatusCode::NOT_FOUND, "SubscriptionNotFound", message)
}

fn show(subscription: &Subscription) -> Value {
    json!({
        "id": format!("/subscriptions/{}", subscription.id),
        "subscriptionId": subscription.id, "tenantId": subscription.tenant,
        "displayName": subscription.name, "state": subscription.state,
        "subscriptionPolicies": {
            "locationPlacementId": "Internal_2014-09-01", "quotaId": "Internal_2014-09-01", "spendingLimit": "Off",
        },
        "authorizationSource": "RoleBased", "managedByTenants": [],
    })
}

/// The subscriptions of the token's tenant in which the caller has a role.
pub(super) fn list(world: &TenantState, call: &Call) -> HandlerResult {
    let his = |subscription: &&Subscription| {
        subscription.tenant.eq_ignore_ascii_case(&call.principal.tenant)
            && access::sees(world, &call.principal, &format!("/subscriptions/{}", subscription.id))
    };
    Ok(page(world, call, world.subscriptions.iter().filter(his).map(show).collect()))
}

pub(super) fn get(world: &TenantState, call: &Call) -> HandlerResult {
    let id = call.route.subscription.as_deref().unwrap_or_default();
    world.find_subscription(id).map(|found| ArmAnswer::ok(show(found))).ok_or_else(|| not_found(id))
}

pub(super) fn locations(world: &TenantState, call: &Call) -> HandlerResult {
    let id = call.route.subscription.as_deref().unwrap_or_default();
    let values = world.regions.iter().map(|region| {
        json!({
            "id": format!("/subscriptions/{id}/locations/{}", region.name),
            "name": region.name, "type": "Region", "displayName": region.display,
            "regionalDisplayName": region.display,
            "metadata": { "regionType": "Physical", "regionCategory": "Recommended" },
        })
    });
    Ok(page(world, call, values.collect()))
}
