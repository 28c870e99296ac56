//! Resource groups. Source: specification, Microsoft.Resources 2025-04-01, `ResourceGroups_*`.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::pipeline::{Call, page};
use super::resources::{Group, normalized_region};
use super::response::{ArmAnswer, HandlerResult};
use super::state::TenantState;
use super::{access, body, providers, schema};

/// The error for a group that does not exist. Source: seen, Azure/azure-cli#24704.
pub(super) fn not_found(name: &str) -> ArmAnswer {
    let message = format!("Resource group '{name}' could not be found.");
    ArmAnswer::error(StatusCode::NOT_FOUND, "ResourceGroupNotFound", message)
}

fn show(group: &Group) -> Value {
    json!({
        "id": format!("/subscriptions/{}/resourceGroups/{}", group.subscription, group.name), "name": group.name,
        "type": "Microsoft.Resources/resourceGroups", "location": group.region, "tags": group.tags,
        "properties": { "provisioningState": "Succeeded" },
    })
}

fn find<'w>(world: &'w TenantState, call: &Call) -> Option<&'w Group> {
    world.find_group(call.route.subscription.as_deref()?, &call.route.name)
}

pub(super) fn list(world: &TenantState, call: &Call) -> HandlerResult {
    let id = call.route.subscription.as_deref().unwrap_or_default();
    let groups = world.groups.iter().filter(|group| group.subscription.eq_ignore_ascii_case(id));
    Ok(page(world, call, groups.map(show).collect()))
}

pub(super) fn get(world: &TenantState, call: &Call) -> HandlerResult {
    find(world, call).map(|group| ArmAnswer::ok(show(group))).ok_or_else(|| not_found(&call.route.name))
}

/// Responds whether a group exists, without a body.
pub(super) fn head(world: &TenantState, call: &Call) -> HandlerResult {
    let status = if find(world, call).is_some() { StatusCode::NO_CONTENT } else { StatusCode::NOT_FOUND };
    Ok(ArmAnswer::empty(status))
}

pub(super) fn put(world: &mut TenantState, call: &Call) -> HandlerResult {
    let body = body::parse(&call.body)?;
    schema::RESOURCE_GROUP.check(&body)?;
    let location = body["location"].as_str().ok_or_else(body::location_required)?;
    let name = &call.route.name;
    if let Some(present) = find(world, call).filter(|group| group.region != normalized_region(location)) {
        let message = format!(
            "Invalid resource group location '{location}'. The Resource group already exists in location '{}'.",
            present.region
        );
        return Err(ArmAnswer::error(StatusCode::CONFLICT, "InvalidResourceGroupLocation", message));
    }
    providers::available(world, call.route.kind.resource_type(), location)?;
    access::policies(world, &call.route, &body)?;
    let group = Group {
        subscription: call.route.subscription.clone().unwrap_or_default(),
        name: find(world, call).map_or_else(|| name.clone(), |present| present.name.clone()),
        region: normalized_region(location),
        tags: body::tags(&body)?,
    };
    let answer = show(&group);
    let at = world.groups.iter().position(|present| {
        present.subscription.eq_ignore_ascii_case(&group.subscription) && present.name.eq_ignore_ascii_case(name)
    });
    world.log.accepted.push(call.accepted(&body));
    match at {
        Some(at) => {
            world.groups[at] = group;
            Ok(ArmAnswer::ok(answer))
        }
        None => {
            world.groups.push(group);
            Ok(ArmAnswer::json(StatusCode::CREATED, answer))
        }
    }
}
