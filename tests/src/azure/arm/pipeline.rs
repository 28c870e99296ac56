//! The processing of a request: the order of the checks, and the handlers.

use std::sync::Arc;

use axum::body::Bytes;
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, StatusCode, header};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::log::Accepted;
use super::resources::Subscription;
use super::response::{ArmAnswer, HandlerResult};
use super::route::{Kind, Query, Route};
use super::state::TenantState;
use super::token::{self, Principal};
use super::{
    Core, access, disk_access, disk_data, disk_put, disks, galleries, groups, images, locks, machines, operations,
    providers, put, storage, subscriptions,
};

/// A request that has passed the checks.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) method: Method,
    pub(super) route: Route,
    pub(super) query: Query,
    pub(super) principal: Principal,
    /// The principals of auxiliary tokens.
    pub(super) auxiliary: Vec<Principal>,
    pub(super) body: Bytes,
    /// The header `If-None-Match`.
    pub(super) if_none_match: Option<String>,
    pub(super) now: Timestamp,
    pub(super) endpoint: String,
    pub(super) path_and_query: String,
}

impl Call {
    /// The entry in the log.
    pub(super) fn accepted(&self, body: &Value) -> Accepted {
        Accepted {
            id: self.route.scope.clone(),
            principal: self.principal.object.clone(),
            at: self.now,
            body: body.clone(),
        }
    }
}

/// The resource type under which a request is counted.
pub(super) fn counted_as(path: &str) -> &'static str {
    if disk_data::is_content(path) {
        return disk_data::CONTENT;
    }
    Route::parse(path).map_or("unknown", |route| route.kind.resource_type())
}

/// Answers a request.
pub(super) async fn answer(core: &Arc<Core>, parts: &Parts, body: Bytes) -> ArmAnswer {
    if disk_data::is_content(parts.uri.path()) {
        return core.world.write(|world| {
            world.settle();
            disk_data::answer(world, parts, &body)
        });
    }
    let checked = core.world.write(|world| {
        world.settle();
        check(world, core, parts, body)
    });
    let (call, remaining) = match checked {
        Ok(checked) => checked,
        Err(refusal) => return refusal,
    };
    let said = if call.route.kind == Kind::Image && call.method == Method::PUT {
        put::put(core, &call).await
    } else {
        core.world.write(|world| dispatch(world, &call))
    };
    let mut answer = said.unwrap_or_else(|refusal| refusal);
    answer.headers.extend(remaining);
    if call.method == Method::HEAD {
        answer.body = None;
    }
    answer
}

type Remaining = Option<(&'static str, String)>;

/// The checks that do not depend on the kind of resource. Their order is a guess where no response from Azure shows it;
/// clients should not rely on it.
fn check(world: &mut TenantState, core: &Core, parts: &Parts, body: Bytes) -> Result<(Call, Remaining), ArmAnswer> {
    let (method, path, now) = (&parts.method, parts.uri.path(), world.clock.now());
    let query = Query::parse(parts.uri.query().unwrap_or_default());
    let route = Route::parse(path).ok_or_else(|| unknown_path(path))?;
    // The address of an operation is opaque. Any error in it means that the operation does not exist.
    if !route.kind.is_operation() {
        providers::version(world, route.kind, query.get("api-version"))?;
    }
    let subscription = route.subscription.as_ref().and_then(|id| world.find_subscription(id)).cloned();
    let tenant = subscription.as_ref().map(|subscription| subscription.tenant.as_str());
    let own = [core.endpoint.clone(), format!("{}/", core.endpoint)];
    let audiences = world.audiences.iter().cloned().chain(own).collect::<Vec<_>>();
    let principal = token::check(parts.headers.get(header::AUTHORIZATION), &audiences, tenant, now)?;
    let mut remaining = None;
    if let Some(id) = &route.subscription {
        let subscription = subscription.ok_or_else(|| subscriptions::not_found(id))?;
        remaining = Some(in_subscription(world, &subscription, &route, &principal, method, now)?);
    }
    if !route.kind.allows(method) {
        let message = format!("The method '{method}' is not allowed on '{}'.", route.kind.resource_type());
        return Err(ArmAnswer::error(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", message));
    }
    let path_and_query = parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
    let (method, endpoint) = (method.clone(), core.endpoint.clone());
    let if_none_match = parts.headers.get(header::IF_NONE_MATCH);
    let if_none_match = if_none_match.and_then(|value| value.to_str().ok()).map(str::to_owned);
    // Source: Azure, authenticate-multi-tenant: further tokens, separated by commas or semicolons.
    let auxiliary = parts.headers.get("x-ms-authorization-auxiliary").and_then(|value| value.to_str().ok());
    let auxiliary = auxiliary.into_iter().flat_map(|tokens| tokens.split([',', ';'])).map(|token| {
        let header = HeaderValue::from_str(token.trim()).ok();
        token::check(header.as_ref(), &audiences, None, now)
    });
    let auxiliary = auxiliary.collect::<Result<Vec<_>, _>>()?;
    Ok((
        Call { method, route, query, principal, auxiliary, body, if_none_match, now, endpoint, path_and_query },
        remaining,
    ))
}

/// Checks a request in a subscription, and takes it from the subscription's bucket.
fn in_subscription(
    world: &mut TenantState,
    subscription: &Subscription,
    route: &Route,
    principal: &Principal,
    method: &Method,
    now: Timestamp,
) -> Result<(&'static str, String), ArmAnswer> {
    if !principal.tenant.eq_ignore_ascii_case(&subscription.tenant) {
        world.wrong_tenants += 1;
        return Err(token::wrong_tenant(principal, &subscription.tenant));
    }
    let limits = world.limits.clone();
    let remaining = world.buckets.take(&limits, method, (&subscription.id, &principal.object), now)?;
    let reads = matches!(*method, Method::GET | Method::HEAD);
    if !reads && !["Enabled", "Warned", "PastDue"].contains(&subscription.state.as_str()) {
        // Source: seen, the message of Resource Manager.
        let message = format!(
            "The subscription '{}' is disabled and therefore marked as read only. You cannot perform any write actions on \
             this subscription until it is re-enabled.",
            subscription.id
        );
        return Err(ArmAnswer::error(StatusCode::CONFLICT, "ReadOnlyDisabledSubscription", message));
    }
    if !route.kind.is_operation() || world.operations_by_role {
        access::authorize(world, principal, route, method)?;
    }
    if let Some(namespace) = route.kind.namespace() {
        providers::registered(subscription, namespace)?;
    }
    if let Some(group) = route.group.as_ref().filter(|_| route.kind != Kind::Group)
        && world.find_group(&subscription.id, group).is_none()
    {
        return Err(groups::not_found(group));
    }
    // Locks do not prevent changes of locks.
    if !reads && route.kind != Kind::Lock {
        access::unlocked(world, &route.scope, method)?;
    }
    Ok(remaining)
}

fn dispatch(world: &mut TenantState, call: &Call) -> HandlerResult {
    match (call.route.kind, &call.method) {
        (Kind::Subscriptions, _) => subscriptions::list(world, call),
        (Kind::Subscription, _) => subscriptions::get(world, call),
        (Kind::Locations, _) => subscriptions::locations(world, call),
        (Kind::Provider, _) => providers::get(world, call),
        (Kind::Register, _) => providers::register(world, call),
        (Kind::Groups, _) => groups::list(world, call),
        (Kind::Group, &Method::PUT) => groups::put(world, call),
        (Kind::Group, &Method::HEAD) => groups::head(world, call),
        (Kind::Group, _) => groups::get(world, call),
        (Kind::Images, _) => images::list(world, call),
        (Kind::Image, &Method::DELETE) => images::delete(world, call),
        (Kind::Image, &Method::PATCH) => images::patch(world, call),
        (Kind::Image, _) => images::get(world, call),
        (Kind::Accounts, _) => storage::list(world, call),
        (Kind::Account, _) => storage::get(world, call),
        (Kind::Permissions, _) => access::list_permissions(world, call),
        (Kind::RoleAssignments, _) => access::list_roles(world, call),
        (Kind::Locks, _) => locks::list(world, call),
        (Kind::Lock, _) => locks::one(world, call),
        (Kind::Disks(kind), _) => disks::list(world, call, kind),
        (Kind::Disk(kind), &Method::PUT) => disk_put::put(world, call, kind),
        (Kind::Disk(_), &Method::DELETE) => disks::delete(world, call),
        (Kind::Disk(kind), _) => disks::get(world, call, kind),
        (Kind::Galleries(level), _) => galleries::list(world, call, level),
        (Kind::SoftDeleted, _) => galleries::list_soft_deleted(world, call),
        (Kind::Gallery(level), &Method::PUT) => galleries::put(world, call, level),
        (Kind::Gallery(_), &Method::DELETE) => galleries::delete(world, call),
        (Kind::Gallery(level), _) => galleries::get(world, call, level),
        (Kind::Machines, _) => machines::list(world, call),
        (Kind::Machine, &Method::PUT) => machines::put(world, call),
        (Kind::Machine, &Method::DELETE) => machines::delete(world, call),
        (Kind::Machine, _) => machines::get(world, call),
        (Kind::Power(verb), _) => machines::act(world, call, verb),
        (Kind::Access(kind, verb), _) => disk_access::post(world, call, kind, verb),
        (Kind::Operation | Kind::DiskOperation, _) => operations::poll(world, call),
    }
}

/// The error for an unknown path. Source: seen, the messages of Resource Manager.
fn unknown_path(path: &str) -> ArmAnswer {
    let mut parts = path.split('/').filter(|part| !part.is_empty());
    if parts.next().is_none_or(|first| !first.eq_ignore_ascii_case("subscriptions")) {
        let message = "The request did not have a subscription or a valid tenant level resource provider.";
        return ArmAnswer::error(StatusCode::NOT_FOUND, "MissingSubscription", message);
    }
    let message = format!("The resource type could not be found for '{path}'.");
    ArmAnswer::error(StatusCode::NOT_FOUND, "InvalidResourceType", message)
}

/// A page of a list, with a link to the next page. Source: specification: lists have `value` and `nextLink`.
pub(super) fn page(world: &TenantState, call: &Call, values: Vec<Value>) -> ArmAnswer {
    let Some(size) = world.page else { return ArmAnswer::ok(json!({ "value": values })) };
    let from = call.query.get("$skiptoken").and_then(|token| token.parse::<usize>().ok()).unwrap_or_default();
    let total = values.len();
    let values = values.into_iter().skip(from).take(size).collect::<Vec<_>>();
    let mut body = json!({ "value": values });
    if from.saturating_add(size) < total {
        let path = call.path_and_query.split("&$skiptoken=").next().unwrap_or_default();
        body["nextLink"] = json!(format!("{}{path}&$skiptoken={}", call.endpoint, from + size));
    }
    ArmAnswer::ok(body)
}
