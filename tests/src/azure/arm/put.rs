//! PUT of a managed image. Source: specification, ComputeRP 2025-04-01, `Images_CreateOrUpdate`.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::http::StatusCode;
use serde_json::{Map, Value, json};

use super::blobs::{self, BlobChecks};
use super::image_checks::{self, Wanted};
use super::images::{self, Image, ImageState};
use super::operations::{self, Change, Failure};
use super::pipeline::Call;
use super::resources::normalized_region;
use super::response::{ArmAnswer, HandlerResult};
use super::state::TenantState;
use super::{Core, access, body, providers, schema, version_content};

/// The change to make, if all blobs are valid.
struct Plan {
    region: String,
    tags: BTreeMap<String, String>,
    properties: Value,
    blobs: Vec<String>,
}

/// Creates or updates an image.
pub(super) async fn put(core: &Arc<Core>, call: &Call) -> HandlerResult {
    let asked = body::parse(&call.body)?;
    let plan = core.world.read(|world| plan(world, call, &asked))?;
    let ask = core.world.read(|world| world.blobs.clone());
    let mut failure = None;
    // The state is not locked here, because the callback of the test may take long.
    for url in &plan.blobs {
        if let Some((code, message)) = blobs::unfit(url, ask.ask(url).await) {
            failure = Some(Failure::new(code, &message));
            break;
        }
    }
    core.world.write(|world| accept(world, call, &asked, failure))
}

fn plan(world: &TenantState, call: &Call, asked: &Value) -> Result<Plan, ArmAnswer> {
    schema::IMAGE.check(asked)?;
    let location = asked["location"].as_str().ok_or_else(body::location_required)?;
    let present = images::find(world, &images::key(&call.route));
    if let Some(image) = present.filter(|image| normalized_region(&image.region) != normalized_region(location)) {
        return Err(elsewhere((&image.name, &image.region, &image.group), location));
    }
    providers::available(world, call.route.kind.resource_type(), location)?;
    let tags = world.kept_tags(body::tags(asked)?);
    access::policies(world, &call.route, asked)?;
    let (region, properties) = (normalized_region(location), normalised(&asked["properties"]));
    let wanted = Wanted {
        subscription: call.route.subscription.as_deref().unwrap_or_default(),
        region: &region,
        name: &call.route.name,
        properties: &properties,
    };
    let mut blobs = image_checks::check(world, &wanted)?;
    if present.is_none() {
        image_checks::sources(world, &wanted)?;
    }
    if let Some(image) = present {
        immutable(&image.properties, &properties)?;
        if image.state == ImageState::Succeeded {
            // An existing image has a separate copy of the data, so its blob may have been deleted.
            blobs.clear();
        }
    }
    Ok(Plan { region, tags, properties, blobs })
}

/// Source: seen, Resource Manager's error for a name that is used in another region.
pub(super) fn elsewhere((name, region, group): (&str, &str, &str), location: &str) -> ArmAnswer {
    let message = format!(
        "The resource '{name}' already exists in location '{region}' in resource group '{group}'. A resource with the same \
         name cannot be created in location '{location}'. Please select a new resource name."
    );
    ArmAnswer::error(StatusCode::CONFLICT, "InvalidResourceLocation", message)
}

fn accept(world: &mut TenantState, call: &Call, asked: &Value, failure: Option<Failure>) -> HandlerResult {
    // Another request may have been handled while the blobs were inspected.
    let plan = plan(world, call, asked)?;
    let failure = failure.filter(|_| !plan.blobs.is_empty());
    let settings = operations::settings(world, &call.route.name);
    if let Some(failure) = failure.as_ref().filter(|_| settings.at_once || world.blob_checks == BlobChecks::AtOnce) {
        return Err(ArmAnswer::bad_request(&failure.code, &failure.message).target("disks"));
    }
    operations::refused_at_once(&settings)?;
    let key = images::key(&call.route);
    let present = world.images.iter().position(|image| image.key() == key);
    // Until the creation has succeeded, the image stays in creation, no matter how many PUTs there are.
    let new = present.is_none_or(|at| world.images[at].state == ImageState::Creating);
    let change = if new { Change::Create } else { Change::Update };
    operations::resolve_collision(world, &key, change, call.now)?;
    world.log.accepted.push(call.accepted(asked));
    let mut image = image(call, plan);
    image.state = match (settings.at_once, new) {
        (true, _) => ImageState::Succeeded,
        (false, true) => ImageState::Creating,
        (false, false) => ImageState::Updating,
    };
    let status = if present.is_none() { StatusCode::CREATED } else { StatusCode::OK };
    let mut answer = ArmAnswer::json(status, image.json());
    if !settings.at_once {
        answer.headers = world.operations.begin(call, &settings, (&key, &image.region), change, failure);
    }
    if present.is_none() {
        version_content::keep(world, &key, &image.properties);
    }
    let before = present.map(|at| world.images[at].clone());
    world.before.insert(key, (settings.stale, before));
    match present {
        Some(at) => {
            // Names keep the case in which they were first given.
            image.name = world.images[at].name.clone();
            world.images[at] = image;
        }
        None => world.images.push(image),
    }
    Ok(answer)
}

fn image(call: &Call, plan: Plan) -> Image {
    Image {
        subscription: call.route.subscription.clone().unwrap_or_default(),
        group: call.route.group.clone().unwrap_or_default(),
        name: call.route.name.clone(),
        region: plan.region,
        tags: plan.tags,
        properties: plan.properties,
        state: ImageState::Succeeded,
    }
}

/// Properties as they are stored: without nulls, with the case of the specification and the defaults of its examples.
pub(super) fn normalised(asked: &Value) -> Value {
    let mut kept = without_nulls(asked);
    if let Some(properties) = kept.as_object_mut() {
        properties.remove("provisioningState");
    } else {
        kept = json!({});
    }
    canonical(&mut kept, "hyperVGeneration", &["V1", "V2"]);
    if let Some(profile) = kept.get_mut("storageProfile").filter(|profile| profile.is_object()) {
        if let Some(disk) = profile.get_mut("osDisk").filter(|disk| disk.is_object()) {
            canonical(disk, "osType", &["Windows", "Linux"]);
            canonical(disk, "osState", &["Generalized", "Specialized"]);
            if disk.get("caching").is_none() {
                disk["caching"] = json!("ReadWrite");
            }
        }
        if profile.get("dataDisks").is_none() {
            profile["dataDisks"] = json!([]);
        }
    }
    kept
}

pub(super) fn canonical(object: &mut Value, member: &str, choices: &[&str]) {
    if let Some(value) = object.get_mut(member)
        && let Some(choice) =
            choices.iter().find(|choice| value.as_str().is_some_and(|v| v.eq_ignore_ascii_case(choice)))
    {
        *value = json!(choice);
    }
}

pub(super) fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let kept = members.iter().filter(|(_, value)| !value.is_null());
            Value::Object(kept.map(|(name, value)| (name.clone(), without_nulls(value))).collect::<Map<_, _>>())
        }
        Value::Array(items) => Value::Array(items.iter().map(without_nulls).collect()),
        other => other.clone(),
    }
}

/// Rejects a change of an image's source. Source: seen, Azure/azure-sdk-for-net#37285 for machines. The properties are
/// those that Azure's documentation calls immutable.
pub(super) fn immutable(present: &Value, asked: &Value) -> Result<(), ArmAnswer> {
    let members = [
        ("/storageProfile/osDisk/osType", "osDisk.osType"),
        ("/storageProfile/osDisk/osState", "osDisk.osState"),
        ("/storageProfile/osDisk/blobUri", "osDisk.blobUri"),
        ("/storageProfile/osDisk/managedDisk/id", "osDisk.managedDisk.id"),
        ("/storageProfile/osDisk/snapshot/id", "osDisk.snapshot.id"),
        ("/storageProfile/osDisk/diskEncryptionSet/id", "osDisk.diskEncryptionSet.id"),
        ("/storageProfile/dataDisks", "dataDisks"),
        ("/hyperVGeneration", "hyperVGeneration"),
        ("/sourceVirtualMachine/id", "sourceVirtualMachine.id"),
    ];
    for (pointer, name) in members {
        let text = |value: &Value| match value.pointer(pointer) {
            Some(Value::String(id)) if pointer.ends_with("/id") => id.to_ascii_lowercase(),
            other => json!(other).to_string(),
        };
        if text(present) != text(asked) {
            let message = format!("Changing property '{name}' is not allowed.");
            return Err(ArmAnswer::error(StatusCode::CONFLICT, "PropertyChangeNotAllowed", message).target(name));
        }
    }
    Ok(())
}
