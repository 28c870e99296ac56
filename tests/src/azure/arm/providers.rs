//! Resource providers. Source: specification, Microsoft.Resources 2025-04-01, `Providers_Get` and `Providers_Register`.

use axum::http::StatusCode;
use serde_json::json;

use super::pipeline::Call;
use super::resources::{Subscription, normalized_region};
use super::response::{ArmAnswer, HandlerResult};
use super::route::Kind;
use super::state::TenantState;

/// The error for a provider that is not registered. Source: seen, Azure/azure-sdk-for-node#2305, neonKUBE#1670.
pub(super) fn registered(subscription: &Subscription, namespace: &str) -> Result<(), ArmAnswer> {
    if !subscription.unregistered.iter().any(|name| name.eq_ignore_ascii_case(namespace)) {
        return Ok(());
    }
    let message = format!(
        "The subscription is not registered to use namespace '{namespace}'. See https://aka.ms/rps-not-found for how to \
         register subscriptions."
    );
    let detail = json!([{ "code": "MissingSubscriptionRegistration", "target": namespace, "message": message }]);
    let refusal = ArmAnswer::error(StatusCode::CONFLICT, "MissingSubscriptionRegistration", message);
    Err(refusal.with("details", detail))
}

/// The error for an API version. Source: seen, Azure/azure-powershell#18691 for providers, #6262 for Resource Manager
/// itself.
pub(super) fn version(world: &TenantState, kind: Kind, version: Option<&str>) -> Result<(), ArmAnswer> {
    let Some(version) = version.filter(|version| !version.is_empty()) else {
        let message = "The api-version query parameter (?api-version=) is required for all requests.";
        return Err(ArmAnswer::bad_request("MissingApiVersionParameter", message));
    };
    let supported = kind.version();
    if version == supported {
        return Ok(());
    }
    if kind.namespace().is_none() {
        let message = format!("The api-version '{version}' is invalid. The supported versions are '{supported}'.");
        return Err(ArmAnswer::bad_request("InvalidApiVersionParameter", message));
    }
    let resource_type = kind.resource_type();
    let name = resource_type.rsplit('/').next().unwrap_or(resource_type);
    let regions = region_names(world, resource_type);
    let message = format!(
        "No registered resource provider found for location '' and API version '{version}' for type '{name}'. The supported \
         api-versions are '{supported}'. The supported locations are '{regions}'."
    );
    Err(ArmAnswer::bad_request("NoRegisteredProviderFound", message))
}

/// Rejects a region in which the resource type is not available. Source: seen, the message of Resource Manager.
pub(super) fn available(world: &TenantState, resource_type: &str, location: &str) -> Result<(), ArmAnswer> {
    let regions = world.regions_of(resource_type);
    if regions.iter().any(|region| normalized_region(&region.name) == normalized_region(location)) {
        return Ok(());
    }
    let message = format!(
        "The provided location '{location}' is not available for resource type '{resource_type}'. List of available regions \
         for the resource type is '{}'.",
        region_names(world, resource_type)
    );
    Err(ArmAnswer::bad_request("LocationNotAvailableForResourceType", message))
}

fn region_names(world: &TenantState, resource_type: &str) -> String {
    world.regions_of(resource_type).into_iter().map(|region| region.name).collect::<Vec<_>>().join(", ")
}

/// Starts a registration. Later GETs of the provider let it end: Azure needs minutes.
pub(super) fn register(world: &mut TenantState, call: &Call) -> HandlerResult {
    let id = call.route.subscription.as_deref().unwrap_or_default();
    let answer = get(world, call)?;
    let key = registration_key(id, &call.route.name);
    let missing = world.find_subscription(id).is_some_and(|found| registered(found, &call.route.name).is_err());
    world.log.accepted.push(call.accepted(&serde_json::Value::Null));
    if !missing {
        return Ok(answer);
    }
    let reads = world.registration_reads;
    world.registering.insert(key, reads);
    show(world, call)
}

fn registration_key(subscription: &str, namespace: &str) -> String {
    format!("{subscription}/{namespace}").to_ascii_lowercase()
}

/// Returns a provider. Each call lets a registration progress.
pub(super) fn get(world: &mut TenantState, call: &Call) -> HandlerResult {
    let id = call.route.subscription.clone().unwrap_or_default();
    let key = registration_key(&id, &call.route.name);
    match world.registering.get_mut(&key) {
        Some(left @ 1..) => *left -= 1,
        Some(_) => {
            world.registering.remove(&key);
            let same = |found: &&mut Subscription| found.id.eq_ignore_ascii_case(&id);
            if let Some(subscription) = world.subscriptions.iter_mut().find(same) {
                subscription.unregistered.retain(|name| !name.eq_ignore_ascii_case(&call.route.name));
            }
        }
        None => {}
    }
    show(world, call)
}

fn show(world: &TenantState, call: &Call) -> HandlerResult {
    let id = call.route.subscription.as_deref().unwrap_or_default();
    let kinds: &[(&str, &str)] = match call.route.name.to_ascii_lowercase().as_str() {
        "microsoft.compute" => &[
            ("images", "2025-04-01"),
            ("disks", "2025-01-02"),
            ("galleries", "2024-03-03"),
            ("galleries/images", "2024-03-03"),
            ("galleries/images/versions", "2024-03-03"),
            ("restorePointCollections", "2025-04-01"),
            ("restorePointCollections/restorePoints", "2025-04-01"),
            ("snapshots", "2025-01-02"),
            ("locations/capsOperations", "2025-04-01"),
            ("locations/DiskOperations", "2025-01-02"),
        ],
        "microsoft.storage" => &[("storageAccounts", "2025-01-01")],
        _ => {
            let message = format!("The resource namespace '{}' is invalid.", call.route.name);
            return Err(ArmAnswer::error(StatusCode::NOT_FOUND, "InvalidResourceNamespace", message));
        }
    };
    let namespace = if kinds.len() == 1 { "Microsoft.Storage" } else { "Microsoft.Compute" };
    let registered = world.find_subscription(id).is_some_and(|found| registered(found, namespace).is_ok());
    let types = kinds.iter().map(|(name, version)| {
        // Regions are listed by their display names.
        let regions = world.regions_of(&format!("{namespace}/{name}"));
        json!({
            "resourceType": name,
            "locations": regions.into_iter().map(|region| region.display).collect::<Vec<_>>(),
            "apiVersions": [version],
            "capabilities": "CrossResourceGroupResourceMove, CrossSubscriptionResourceMove, SupportsTags, SupportsLocation",
        })
    });
    Ok(ArmAnswer::ok(json!({
        "id": format!("/subscriptions/{id}/providers/{namespace}"), "namespace": namespace,
        "registrationState": match (registered, world.registering.contains_key(&registration_key(id, namespace))) {
            (true, _) => "Registered",
            (false, true) => "Registering",
            (false, false) => "NotRegistered",
        },
        "registrationPolicy": "RegistrationRequired", "resourceTypes": types.collect::<Vec<_>>(),
    })))
}
