//! Management locks. Source: specification, Microsoft.Authorization 2020-05-01, `ManagementLocks_*`.

use axum::http::{Method, StatusCode};
use serde_json::{Value, json};

use super::pipeline::{Call, page};
use super::resources::{Lock, LockLevel, within};
use super::response::{ArmAnswer, HandlerResult};
use super::state::TenantState;
use super::{body, disks, images, schema};

fn show(lock: &Lock) -> Value {
    let mut properties = json!({ "level": format!("{:?}", lock.level) });
    if !lock.notes.is_empty() {
        properties["notes"] = json!(lock.notes);
    }
    json!({
        "properties": properties, "id": lock.id(), "type": "Microsoft.Authorization/locks", "name": lock.name,
    })
}

fn position(world: &TenantState, call: &Call) -> Option<usize> {
    let is = |lock: &Lock| {
        lock.name.eq_ignore_ascii_case(&call.route.name)
            && within(&lock.scope, &call.route.scope)
            && within(&call.route.scope, &lock.scope)
    };
    world.locks.iter().position(is)
}

/// Handles a request for one lock.
pub(super) fn one(world: &mut TenantState, call: &Call) -> HandlerResult {
    let found = position(world, call);
    match call.method {
        Method::PUT => put(world, call, found),
        Method::DELETE => {
            // Source: specification: 200, or 204 if it does not exist.
            let status = if found.is_some() { StatusCode::OK } else { StatusCode::NO_CONTENT };
            found.map(|at| world.locks.remove(at));
            Ok(ArmAnswer::empty(status))
        }
        // The code is a guess.
        _ => found.map(|at| ArmAnswer::ok(show(&world.locks[at]))).ok_or_else(|| {
            let message = format!("The lock '{}' could not be found.", call.route.name);
            ArmAnswer::error(StatusCode::NOT_FOUND, "LockNotFound", message)
        }),
    }
}

/// Source: specification: 201 for a new lock, 200 for an existing one.
fn put(world: &mut TenantState, call: &Call, found: Option<usize>) -> HandlerResult {
    let asked = body::parse(&call.body)?;
    schema::LOCK.check(&asked)?;
    locked_scope_exists(world, call)?;
    let level = match asked["properties"]["level"].as_str() {
        Some(level) if level.eq_ignore_ascii_case("ReadOnly") => LockLevel::ReadOnly,
        Some(level) if level.eq_ignore_ascii_case("CanNotDelete") => LockLevel::CanNotDelete,
        _ => return Err(ArmAnswer::missing("properties.level")),
    };
    let notes = asked["properties"]["notes"].as_str().unwrap_or_default();
    // Source: specification: a maximum of 512 characters.
    if notes.chars().count() > 512 {
        return Err(ArmAnswer::bad_request("InvalidLockNotes", "The notes have more than 512 characters."));
    }
    let lock = Lock { name: call.route.name.clone(), scope: call.route.scope.clone(), level, notes: notes.to_owned() };
    let answer = show(&lock);
    match found {
        Some(at) => world.locks[at] = lock,
        None => world.locks.push(lock),
    }
    let status = if found.is_some() { StatusCode::OK } else { StatusCode::CREATED };
    Ok(ArmAnswer::json(status, answer))
}

/// A lock needs an existing resource. The message is that of Resource Manager for any request to a missing resource.
fn locked_scope_exists(world: &TenantState, call: &Call) -> Result<(), ArmAnswer> {
    let key = call.route.scope.to_ascii_lowercase();
    if !key.contains("/providers/microsoft.compute/") {
        return Ok(());
    }
    if disks::find(world, &key).is_some() || images::find(world, &key).is_some() {
        return Ok(());
    }
    let (group, name) = (call.route.group.as_deref().unwrap_or_default(), key.rsplit('/').next().unwrap_or_default());
    let kind = key.split('/').rev().nth(1).unwrap_or_default();
    Err(ArmAnswer::resource_not_found(&format!("Microsoft.Compute/{kind}"), name, group))
}

/// Lists locks at, above and below a scope. Source: specification, `ManagementLocks_ListByScope`.
pub(super) fn list(world: &TenantState, call: &Call) -> HandlerResult {
    let filter = call.query.get("$filter").unwrap_or_default().trim();
    if !(filter.is_empty() || filter == "atScope()") {
        return Err(super::access::unsupported_filter(filter));
    }
    let scope = &call.route.scope;
    let there = |at: &str| within(scope, at) || (filter.is_empty() && within(at, scope));
    let values = world.locks.iter().filter(|lock| there(&lock.scope)).map(show);
    Ok(page(world, call, values.collect()))
}
