//! Authorization: roles, locks, policies, and the lists of them.

use axum::http::{Method, StatusCode};
use serde_json::{Value, json};

use super::pipeline::{Call, page};
use super::resources::{LockLevel, Policy, RoleAssignment, within};
use super::response::{ArmAnswer, HandlerResult};
use super::route::{Kind, Route};
use super::state::TenantState;
use super::token::Principal;

/// How requests are authorized.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Authorization {
    /// Every valid token may do everything.
    #[default]
    Open,
    /// By the assigned roles.
    ByRole,
}

/// The assignments that a principal has at or above a scope, directly or through a group.
fn held<'w>(world: &'w TenantState, principal: &str, scope: &str) -> impl Iterator<Item = &'w RoleAssignment> {
    let (principal, scope) = (principal.to_owned(), scope.to_owned());
    world.roles.iter().filter(move |role| assigned(world, role, &principal) && within(&scope, &role.scope))
}

/// Whether an assignment applies to a principal, directly or through a group.
fn assigned(world: &TenantState, role: &RoleAssignment, principal: &str) -> bool {
    let groups = world.memberships.get(principal).into_iter().flatten().map(String::as_str);
    groups.chain([principal]).any(|who| who.eq_ignore_ascii_case(&role.principal))
}

/// Whether an action matches a pattern. Source: Azure, role definitions: `*` matches any text, and case is ignored.
fn matches(pattern: &str, action: &str) -> bool {
    let (pattern, action) = (pattern.to_ascii_lowercase(), action.to_ascii_lowercase());
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == action };
    let Some(mut left) = action.strip_prefix(first) else { return false };
    let parts = rest.split('*').collect::<Vec<_>>();
    let Some((last, middle)) = parts.split_last() else { return true };
    for part in middle {
        let Some(at) = left.find(part) else { return false };
        left = &left[at + part.len()..];
    }
    left.ends_with(last)
}

/// Whether a principal may see anything of a scope.
pub(super) fn sees(world: &TenantState, principal: &Principal, scope: &str) -> bool {
    let below = |role: &RoleAssignment| within(&role.scope, scope) && assigned(world, role, &principal.object);
    world.authorization == Authorization::Open
        || held(world, &principal.object, scope).next().is_some()
        || world.roles.iter().any(below)
}

/// Rejects a request that no role allows. Source: Azure, the message of AuthorizationFailed.
pub(super) fn authorize(
    world: &TenantState,
    principal: &Principal,
    route: &Route,
    method: &Method,
) -> Result<(), ArmAnswer> {
    // Source: Azure, resource provider operations: the action belongs to the provider.
    let action = match route.kind {
        Kind::Register => format!("{}/register/action", route.name),
        kind => kind.action(method),
    };
    let any = |patterns: &[String]| patterns.iter().any(|pattern| matches(pattern, &action));
    let allows = |role: &RoleAssignment| any(&role.role.actions) && !any(&role.role.not_actions);
    if world.authorization == Authorization::Open || held(world, &principal.object, &route.scope).any(allows) {
        return Ok(());
    }
    let message = format!(
        "The client '{0}' with object id '{0}' does not have authorization to perform action '{action}' over scope '{1}' or \
         the scope is invalid. If access was recently granted, please refresh your credentials.",
        principal.object, route.scope
    );
    Err(ArmAnswer::error(StatusCode::FORBIDDEN, "AuthorizationFailed", message))
}

/// Rejects a request that a lock forbids. Source: seen, Azure-Player/azure.datafactory.devops#183.
pub(super) fn unlocked(world: &TenantState, scope: &str, method: &Method) -> Result<(), ArmAnswer> {
    let verb = if method == Method::DELETE { "delete" } else { "write" };
    let forbids = |level| level == LockLevel::ReadOnly || verb == "delete";
    let locks = world.locks.iter().filter(|lock| within(scope, &lock.scope) && forbids(lock.level));
    let scopes = locks.map(|lock| lock.scope.as_str()).collect::<Vec<_>>();
    if scopes.is_empty() {
        return Ok(());
    }
    let message = format!(
        "The scope '{scope}' cannot perform {verb} operation because following scope(s) are locked: '{}'. Please remove the \
         lock and try again.",
        scopes.join(",")
    );
    Err(ArmAnswer::error(StatusCode::CONFLICT, "ScopeLocked", message))
}

/// Rejects a request that a policy denies. Source: Azure, 'RequestDisallowedByPolicy' with its `PolicyViolation`.
pub(super) fn policies(world: &TenantState, route: &Route, body: &Value) -> Result<(), ArmAnswer> {
    let denies =
        |policy: &&Policy| within(&route.scope, &policy.scope) && (policy.denies)(route.kind.resource_type(), body);
    let Some(policy) = world.policies.iter().find(denies) else { return Ok(()) };
    let (name, scope) = (&policy.name, policy.scope.trim_end_matches('/'));
    let assignment = format!("{scope}/providers/Microsoft.Authorization/policyAssignments/{name}");
    let definition = format!("/providers/Microsoft.Authorization/policyDefinitions/{name}");
    let identifiers = json!([{
        "policyAssignment": { "name": name, "id": assignment },
        "policyDefinition": { "name": name, "id": definition },
    }]);
    let message = format!("Resource '{}' was disallowed by policy. Policy identifiers: '{identifiers}'.", route.name);
    let info = json!([{ "type": "PolicyViolation", "info": {
        "policyDefinitionDisplayName": name, "policyDefinitionId": definition, "policyDefinitionName": name,
        "policyDefinitionEffect": "deny", "policyAssignmentId": assignment, "policyAssignmentName": name,
        "policyAssignmentDisplayName": name, "policyAssignmentScope": scope, "policyAssignmentParameters": {},
    }}]);
    let refusal = ArmAnswer::error(StatusCode::FORBIDDEN, "RequestDisallowedByPolicy", message);
    Err(refusal.target(&route.name).with("additionalInfo", info))
}

/// Lists the caller's permissions at a scope. Source: specification, `Permissions_ListForResourceGroup` and
/// `…ForResource`.
pub(super) fn list_permissions(world: &TenantState, call: &Call) -> HandlerResult {
    let open = json!({ "actions": ["*"], "notActions": [], "dataActions": [], "notDataActions": [] });
    let roles = held(world, &call.principal.object, &call.route.scope).map(|assignment| {
        let role = &assignment.role;
        json!({
            "actions": role.actions, "notActions": role.not_actions,
            "dataActions": role.data_actions, "notDataActions": role.not_data_actions,
        })
    });
    let values = if world.authorization == Authorization::Open { vec![open] } else { roles.collect() };
    Ok(page(world, call, values))
}

/// Lists role assignments at, above and below a scope. Source: specification, `RoleAssignments_ListForScope`:
/// `atScope()` omits those below the scope, `principalId eq` selects a principal; `assignedTo` includes the principal's
/// groups.
pub(super) fn list_roles(world: &TenantState, call: &Call) -> HandlerResult {
    let scope = &call.route.scope;
    let filter = call.query.get("$filter").unwrap_or_default().trim();
    let quoted = |text: &str| text.trim().trim_matches('\'').to_owned();
    let assigned_to = filter.strip_prefix("assignedTo(").and_then(|rest| rest.strip_suffix(')')).map(quoted);
    let principal = filter.strip_prefix("principalId eq ").map(quoted);
    if !(filter.is_empty() || filter == "atScope()" || assigned_to.is_some() || principal.is_some()) {
        return Err(unsupported_filter(filter));
    }
    let his = |role: &RoleAssignment| match (&assigned_to, &principal) {
        (Some(who), _) => assigned(world, role, who),
        (None, Some(who)) => role.principal.eq_ignore_ascii_case(who),
        (None, None) => true,
    };
    let there =
        |role: &RoleAssignment| within(scope, &role.scope) || (filter != "atScope()" && within(&role.scope, scope));
    let values = world.roles.iter().filter(|role| his(role) && there(role)).map(|role| {
        let at = role.scope.trim_end_matches('/');
        json!({
            "properties": {
                "roleDefinitionId": format!("/providers/Microsoft.Authorization/roleDefinitions/{}", role.role.id),
                "principalId": role.principal, "principalType": role.principal_type, "scope": role.scope,
            },
            "id": format!("{at}/providers/Microsoft.Authorization/roleAssignments/{}", role.name),
            "type": "Microsoft.Authorization/roleAssignments", "name": role.name,
        })
    });
    Ok(page(world, call, values.collect()))
}

pub(super) fn unsupported_filter(filter: &str) -> ArmAnswer {
    // The code is a guess.
    ArmAnswer::bad_request("UnsupportedQuery", format!("The filter '{filter}' is not supported."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcard_matches_any_action() {
        for pattern in ["*", "*/read", "Microsoft.Compute/*", "microsoft.compute/IMAGES/read", "Microsoft.*/images/*"] {
            assert!(matches(pattern, "Microsoft.Compute/images/read"), "{pattern}");
        }
        for pattern in ["*/write", "Microsoft.Storage/*", "Microsoft.Compute/images", "*/disks/*"] {
            assert!(!matches(pattern, "Microsoft.Compute/images/read"), "{pattern}");
        }
    }
}
