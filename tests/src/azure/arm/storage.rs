//! Storage accounts. Source: specification, Microsoft.Storage 2025-01-01, `StorageAccounts_GetProperties` and lists.

use serde_json::{Value, json};

use super::pipeline::{Call, page};
use super::resources::Account;
use super::response::{ArmAnswer, HandlerResult};
use super::state::TenantState;

fn show(account: &Account) -> Value {
    let (group, name) = (&account.group, &account.name);
    let id = format!(
        "/subscriptions/{}/resourceGroups/{group}/providers/Microsoft.Storage/storageAccounts/{name}",
        account.subscription
    );
    let addresses = account.ip_rules.iter().map(|range| json!({ "value": range, "action": "Allow" }));
    let subnets = account.vnet_rules.iter().map(|id| json!({ "id": id, "action": "Allow", "state": "Succeeded" }));
    let mut shown = json!({
        "id": id, "name": name, "type": "Microsoft.Storage/storageAccounts",
        "kind": account.kind, "location": account.region, "tags": account.tags,
        "sku": { "name": account.sku, "tier": account.sku.split('_').next() },
        "properties": {
            "provisioningState": "Succeeded", "statusOfPrimary": "available", "primaryLocation": account.region,
            "creationTime": "2025-01-01T00:00:00.0000000Z", "supportsHttpsTrafficOnly": true,
            "minimumTlsVersion": "TLS1_2", "publicNetworkAccess": account.public_network_access,
            "allowSharedKeyAccess": account.shared_key, "allowBlobPublicAccess": account.public_blobs,
            "primaryEndpoints": { "blob": account.blob_endpoint },
            "networkAcls": {
                "bypass": account.bypass, "defaultAction": account.default_action,
                "ipRules": addresses.collect::<Vec<_>>(), "virtualNetworkRules": subnets.collect::<Vec<_>>(),
            },
        },
    });
    // Source: Azure: these two members are missing until they are set.
    if account.hierarchical {
        shown["properties"]["isHnsEnabled"] = json!(true);
    }
    if let Some(scope) = &account.copy_scope {
        shown["properties"]["allowedCopyScope"] = json!(scope);
    }
    shown
}

fn here(account: &Account, call: &Call) -> bool {
    let route = &call.route;
    route.subscription.as_ref().is_some_and(|id| id.eq_ignore_ascii_case(&account.subscription))
        && route.group.as_ref().is_none_or(|group| group.eq_ignore_ascii_case(&account.group))
}

pub(super) fn list(world: &TenantState, call: &Call) -> HandlerResult {
    Ok(page(world, call, world.accounts.iter().filter(|account| here(account, call)).map(show).collect()))
}

pub(super) fn get(world: &TenantState, call: &Call) -> HandlerResult {
    let name = &call.route.name;
    let is = |account: &&Account| here(account, call) && account.name.eq_ignore_ascii_case(name);
    let missing = || {
        let group = call.route.group.as_deref().unwrap_or_default();
        ArmAnswer::resource_not_found("Microsoft.Storage/storageAccounts", name, group)
    };
    world.accounts.iter().find(is).map(|account| ArmAnswer::ok(show(account))).ok_or_else(missing)
}
