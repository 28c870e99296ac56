//! Managed images. Source: specification, ComputeRP 2025-04-01, `Images_*`.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::operations::{self, Change};
use super::pipeline::{Call, page};
use super::response::{ArmAnswer, HandlerResult};
use super::route::Route;
use super::state::TenantState;
use super::{access, body, put, schema};

/// The provisioning state of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageState {
    /// Being created.
    Creating,
    /// Being updated.
    Updating,
    /// Being deleted.
    Deleting,
    /// Complete.
    Succeeded,
    /// The last change failed.
    Failed,
}

/// A managed image.
#[derive(Debug, Clone)]
pub struct Image {
    /// Its subscription.
    pub subscription: String,
    /// Its resource group.
    pub group: String,
    /// Its name.
    pub name: String,
    /// Its region.
    pub region: String,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    /// Its properties except the provisioning state.
    pub properties: Value,
    /// Its provisioning state.
    pub state: ImageState,
}

impl Image {
    /// Its id.
    #[must_use]
    pub fn id(&self) -> String {
        let (subscription, group, name) = (&self.subscription, &self.group, &self.name);
        format!("/subscriptions/{subscription}/resourceGroups/{group}/providers/Microsoft.Compute/images/{name}")
    }

    /// The image as a GET returns it.
    #[must_use]
    pub fn json(&self) -> Value {
        let mut properties = self.properties.clone();
        properties["provisioningState"] = json!(format!("{:?}", self.state));
        json!({
            "id": self.id(), "name": self.name, "type": "Microsoft.Compute/images",
            "location": self.region, "tags": self.tags, "properties": properties,
        })
    }

    /// The key that identifies an image: its id in lower case.
    pub(super) fn key(&self) -> String {
        self.id().to_ascii_lowercase()
    }
}

/// The key of the image that a path names.
pub(super) fn key(route: &Route) -> String {
    route.scope.to_ascii_lowercase()
}

pub(super) fn find<'w>(world: &'w TenantState, key: &str) -> Option<&'w Image> {
    world.images.iter().find(|image| image.key() == key)
}

pub(super) fn not_found(route: &Route) -> ArmAnswer {
    let group = route.group.as_deref().unwrap_or_default();
    ArmAnswer::resource_not_found("Microsoft.Compute/images", &route.name, group)
}

pub(super) fn list(world: &TenantState, call: &Call) -> HandlerResult {
    let route = &call.route;
    let here = |image: &&Image| {
        route.subscription.as_ref().is_some_and(|id| id.eq_ignore_ascii_case(&image.subscription))
            && route.group.as_ref().is_none_or(|group| group.eq_ignore_ascii_case(&image.group))
    };
    let values = world.images.iter().filter(here).map(Image::json);
    Ok(page(world, call, values.map(|value| world.as_listed(value)).collect()))
}

/// Returns an image, even while it is being created. Each call counts as a poll of the operation in progress.
pub(super) fn get(world: &mut TenantState, call: &Call) -> HandlerResult {
    let key = key(&call.route);
    if let Some((left @ 1.., before)) = world.before.get_mut(&key) {
        *left -= 1;
        return before.as_ref().map(|image| ArmAnswer::ok(image.json())).ok_or_else(|| not_found(&call.route));
    }
    world.operations.count_poll(&key);
    find(world, &key).map(|image| ArmAnswer::ok(image.json())).ok_or_else(|| not_found(&call.route))
}

/// Updates tags. Source: specification, `Images_Update`: properties may be given. That no property may change is a
/// guess.
pub(super) fn patch(world: &mut TenantState, call: &Call) -> HandlerResult {
    let update = body::parse(&call.body)?;
    schema::IMAGE_UPDATE.check(&update)?;
    let key = key(&call.route);
    let image = find(world, &key).ok_or_else(|| not_found(&call.route))?;
    let mut changed = image.clone();
    if let Some(properties) = update["properties"].as_object() {
        for (name, value) in properties {
            changed.properties[name] = value.clone();
        }
        put::immutable(&image.properties, &put::normalised(&changed.properties))?;
        changed.properties = image.properties.clone();
    }
    if update["tags"].is_object() {
        changed.tags = body::tags(&update)?;
    }
    access::policies(world, &call.route, &changed.json())?;
    operations::resolve_collision(world, &key, Change::Update, call.now)?;
    let answer = changed.json();
    if let Some(image) = world.images.iter_mut().find(|image| image.key() == key) {
        *image = changed;
    }
    Ok(ArmAnswer::ok(answer))
}

/// Starts the deletion of an image. Source: specification, `Images_Delete`: 204 if it does not exist, else 202 with an
/// operation.
pub(super) fn delete(world: &mut TenantState, call: &Call) -> HandlerResult {
    let key = key(&call.route);
    let Some(image) = find(world, &key) else { return Ok(ArmAnswer::empty(StatusCode::NO_CONTENT)) };
    let (region, before) = (image.region.clone(), Some(image.clone()));
    let settings = operations::settings(world, &call.route.name);
    operations::refused_at_once(&settings)?;
    operations::resolve_collision(world, &key, Change::Delete, call.now)?;
    if settings.at_once {
        world.images.retain(|image| image.key() != key);
        return Ok(ArmAnswer::empty(StatusCode::OK));
    }
    if let Some(image) = world.images.iter_mut().find(|image| image.key() == key) {
        image.state = ImageState::Deleting;
    }
    world.before.insert(key.clone(), (settings.stale, before));
    let mut answer = ArmAnswer::empty(StatusCode::ACCEPTED);
    answer.headers = world.operations.begin(call, &settings, (&key, &region), Change::Delete, None);
    Ok(answer)
}
