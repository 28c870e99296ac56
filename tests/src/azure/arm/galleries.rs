//! Galleries, image definitions and gallery versions, and collections with restore points, which are nested resources
//! too. Source: specification, GalleryRP 2024-03-03, `Galleries_*`, `GalleryImages_*` and `GalleryImageVersions_*`;
//! recorded: a PUT returns 201. Codes without another source are guesses.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::images::{self, ImageState};
use super::operations::{self, Change};
use super::pipeline::{Call, page};
use super::put::{elsewhere, without_nulls};
use super::replication::Replica;
use super::resources::normalized_region;
use super::response::{ArmAnswer, HandlerResult};
use super::state::TenantState;
use super::{access, body, disks, providers, restore_points, schema, version_content};

/// A level of what is in a gallery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum GalleryLevel {
    /// The gallery.
    Gallery,
    /// An image definition.
    Definition,
    /// A version.
    Version,
    /// A collection of restore points of a machine.
    Collection,
    /// A restore point.
    RestorePoint,
}

impl GalleryLevel {
    /// The resource type.
    #[must_use]
    pub fn resource_type(self) -> &'static str {
        match self {
            Self::Gallery => "Microsoft.Compute/galleries",
            Self::Definition => "Microsoft.Compute/galleries/images",
            Self::Version => "Microsoft.Compute/galleries/images/versions",
            Self::Collection => "Microsoft.Compute/restorePointCollections",
            Self::RestorePoint => "Microsoft.Compute/restorePointCollections/restorePoints",
        }
    }

    /// The version of the API. Source: specification, GalleryRP and ComputeRP.
    pub(super) fn version(self) -> &'static str {
        match self {
            Self::Gallery | Self::Definition | Self::Version => "2024-03-03",
            Self::Collection | Self::RestorePoint => "2025-04-01",
        }
    }
}

/// A gallery, an image definition or a version.
#[derive(Debug, Clone)]
pub struct GalleryItem {
    /// Its level.
    pub level: GalleryLevel,
    /// Its id.
    pub id: String,
    /// Its region.
    pub region: String,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    /// Its properties except those that the platform sets.
    pub properties: Value,
    /// Its provisioning state, for a version without its replication.
    pub state: ImageState,
    /// The replication of a version, by region.
    pub replicas: BTreeMap<String, Replica>,
}

impl GalleryItem {
    pub(super) fn key(&self) -> String {
        self.id.to_ascii_lowercase()
    }

    fn own_name(&self) -> &str {
        self.id.rsplit('/').next().unwrap_or_default()
    }

    /// The resource as a GET without `$expand` returns it. Source: specification, examples: regions by their display
    /// names.
    #[must_use]
    pub fn json(&self, world: &TenantState) -> Value {
        let mut properties = self.properties.clone();
        let is_replicating = self.replicas.values().any(|replica| replica.is_underway(world.clock.now()));
        let failed = self.replicas.values().any(|replica| replica.has_failed(world.clock.now()));
        let state = match (self.state, is_replicating, failed) {
            (ImageState::Succeeded, true, _) => ImageState::Updating,
            (ImageState::Succeeded, false, true) => ImageState::Failed,
            (state, ..) => state,
        };
        properties["provisioningState"] = json!(format!("{state:?}"));
        if let Some(regions) = properties.pointer_mut("/publishingProfile/targetRegions").and_then(Value::as_array_mut)
        {
            for region in regions {
                region["name"] = json!(display(world, region["name"].as_str().unwrap_or_default()));
            }
        }
        let mut value = json!({
            "id": self.id, "name": self.own_name(), "type": self.level.resource_type(),
            "location": self.region, "tags": self.tags, "properties": properties,
        });
        // Source: specification, `RestorePoint` is a proxy resource: it has no region and no tags.
        if let Some(members) = value.as_object_mut().filter(|_| self.level == GalleryLevel::RestorePoint) {
            members.retain(|name, _| !matches!(name.as_str(), "location" | "tags"));
        }
        value
    }

    fn region_names(&self) -> Vec<String> {
        let regions = self.properties["publishingProfile"]["targetRegions"].as_array().into_iter().flatten();
        regions.filter_map(|region| region["name"].as_str()).map(normalized_region).collect()
    }
}

fn display(world: &TenantState, region: &str) -> String {
    let found = world.regions.iter().find(|known| normalized_region(&known.name) == normalized_region(region));
    found.map_or_else(|| region.to_owned(), |found| found.display.clone())
}

pub(super) fn find<'w>(world: &'w TenantState, key: &str) -> Option<&'w GalleryItem> {
    world.galleries.iter().find(|item| item.key() == key)
}

fn find_mut<'w>(world: &'w mut TenantState, key: &str) -> Option<&'w mut GalleryItem> {
    world.galleries.iter_mut().find(|item| item.key() == key)
}

fn parent(key: &str) -> Option<&str> {
    let mut cut = key.rmatch_indices('/');
    cut.nth(1).map(|(at, _)| &key[..at])
}

fn not_found(call: &Call, level: GalleryLevel) -> ArmAnswer {
    let group = call.route.group.as_deref().unwrap_or_default();
    ArmAnswer::resource_not_found(level.resource_type(), &call.route.name, group)
}

pub(super) fn list(world: &TenantState, call: &Call, level: GalleryLevel) -> HandlerResult {
    let scope = disks::key(call);
    let is_top = matches!(level, GalleryLevel::Gallery | GalleryLevel::Collection);
    if !is_top && find(world, &scope).is_none() {
        return Err(not_found(call, level));
    }
    let here = |item: &&GalleryItem| item.level == level && item.key().starts_with(&format!("{scope}/"));
    let values: Vec<Value> =
        world.galleries.iter().filter(here).map(|item| world.as_listed(item.json(world))).collect();
    Ok(page(world, call, values))
}

/// The deleted versions of a definition that its gallery keeps. Source: specification,
/// `SoftDeletedResource_ListByArtifactName`.
pub(super) fn list_soft_deleted(world: &TenantState, call: &Call) -> HandlerResult {
    let gallery = call.route.scope.clone();
    if find(world, &gallery.to_ascii_lowercase()).is_none() {
        return Err(not_found(call, GalleryLevel::Gallery));
    }
    let definition = format!("{gallery}/images/{}", call.route.name);
    let below = format!("{}/versions/", definition.to_ascii_lowercase());
    let kept = world.soft_deleted.iter().filter(|(id, _)| id.to_ascii_lowercase().starts_with(&below));
    let values = kept.map(|(id, region)| {
        let name = id.rsplit('/').next().unwrap_or_default();
        json!({
            "name": name, "location": display(world, region),
            "id": format!("{gallery}/softDeletedArtifactTypes/Images/artifacts/{}/versions/{name}", call.route.name),
            "type": "Microsoft.Compute/galleries/softDeletedArtifactTypes/artifacts/versions",
            "properties": {
                "resourceArmId": id, "softDeletedArtifactType": "Images", "softDeletedTime": call.now.to_string(),
            },
        })
    });
    Ok(page(world, call, values.collect()))
}

/// Returns a resource. Each call with the replication status lets replications progress.
pub(super) fn get(world: &mut TenantState, call: &Call, level: GalleryLevel) -> HandlerResult {
    let key = disks::key(call);
    world.operations.count_poll(&key);
    let now = call.now;
    let expands = call.query.get("$expand").is_some_and(|what| what.eq_ignore_ascii_case("ReplicationStatus"));
    let item = find(world, &key).ok_or_else(|| not_found(call, level))?;
    let mut value = item.json(world);
    if expands && level == GalleryLevel::Version {
        let summary = item.replicas.iter().map(|(region, replica)| {
            let (state, progress, details) = replica.reported(now);
            json!({ "region": display(world, region), "state": state, "progress": progress, "details": details })
        });
        let summary: Vec<Value> = summary.collect();
        let all = |state: &str| summary.iter().all(|region| region["state"] == state);
        let any = |state: &str| summary.iter().any(|region| region["state"] == state);
        let aggregated = match () {
            () if all("Completed") => "Completed",
            () if any("Replicating") => "InProgress",
            () => "Failed",
        };
        value["properties"]["replicationStatus"] = json!({ "aggregatedState": aggregated, "summary": summary });
        let item = find_mut(world, &key).ok_or_else(|| not_found(call, level))?;
        item.replicas.values_mut().for_each(Replica::count_read);
    }
    Ok(ArmAnswer::ok(value))
}

/// Creates or updates a resource.
pub(super) fn put(world: &mut TenantState, call: &Call, level: GalleryLevel) -> HandlerResult {
    let asked = body::parse(&call.body)?;
    let mut item = wanted(world, call, level, &asked)?;
    let settings = operations::settings(world, &call.route.name);
    operations::refused_at_once(&settings)?;
    let key = item.key();
    let present = find(world, &key).cloned();
    let change = if present.is_none() { Change::Create } else { Change::Update };
    operations::resolve_collision(world, &key, change, call.now)?;
    world.log.accepted.push(call.accepted(&asked));
    item.state = match (settings.at_once, change) {
        (true, _) => ImageState::Succeeded,
        (false, Change::Create) => ImageState::Creating,
        _ => ImageState::Updating,
    };
    replicate(world, &mut item, present.as_ref(), call.now);
    let status = if present.is_none() { StatusCode::CREATED } else { StatusCode::OK };
    let mut answer = ArmAnswer::json(status, item.json(world));
    if !settings.at_once {
        answer.headers = world.operations.begin(call, &settings, (&key, &item.region), change, None);
    }
    match level {
        GalleryLevel::Version if present.is_none() => version_content::keep(world, &key, &item.properties),
        GalleryLevel::RestorePoint if present.is_none() => restore_points::keep(world, &item.properties),
        _ => {}
    }
    match find_mut(world, &key) {
        Some(place) => *place = item,
        None => world.galleries.push(item),
    }
    Ok(answer)
}

fn replicate(world: &mut TenantState, item: &mut GalleryItem, present: Option<&GalleryItem>, now: Timestamp) {
    for region in item.region_names() {
        let kept = present.and_then(|present| present.replicas.get(&region)).cloned();
        let replica = kept.unwrap_or_else(|| world.replication.begin(&region, now));
        item.replicas.insert(region, replica);
    }
}

fn wanted(world: &TenantState, call: &Call, level: GalleryLevel, asked: &Value) -> Result<GalleryItem, ArmAnswer> {
    match level {
        GalleryLevel::Gallery => schema::galleries::GALLERY.check(asked)?,
        GalleryLevel::Definition => schema::galleries::DEFINITION.check(asked)?,
        GalleryLevel::Version => schema::galleries::VERSION.check(asked)?,
        GalleryLevel::Collection => schema::galleries::COLLECTION.check(asked)?,
        GalleryLevel::RestorePoint => schema::galleries::RESTORE_POINT.check(asked)?,
    }
    let key = disks::key(call);
    let of_parent = parent(&key).and_then(|parent| find(world, parent)).map(|parent| parent.region.clone());
    let location = match (level, &of_parent) {
        (GalleryLevel::RestorePoint, Some(region)) => region.as_str(),
        (GalleryLevel::RestorePoint, None) => "",
        _ => asked["location"].as_str().ok_or_else(body::location_required)?,
    };
    let is_top = matches!(level, GalleryLevel::Gallery | GalleryLevel::Collection);
    if let Some(parent) = parent(&key).filter(|_| !is_top)
        && find(world, parent).is_none()
    {
        // Source: seen, the message of Resource Manager.
        let name = parent.rsplit('/').next().unwrap_or_default();
        let message =
            format!("Can not perform requested operation on nested resource. Parent resource '{name}' not found.");
        return Err(ArmAnswer::error(StatusCode::NOT_FOUND, "ParentResourceNotFound", message));
    }
    let present = find(world, &key);
    if present.is_none() && world.soft_deleted.iter().any(|(id, _)| id.eq_ignore_ascii_case(&call.route.scope)) {
        // The status and the code are guesses.
        let message = format!("The gallery image version '{}' is soft-deleted.", call.route.name);
        return Err(ArmAnswer::error(StatusCode::CONFLICT, "Conflict", message));
    }
    if let Some(present) = present.filter(|found| normalized_region(&found.region) != normalized_region(location)) {
        let group = call.route.group.as_deref().unwrap_or_default();
        return Err(elsewhere((present.own_name(), &present.region, group), location));
    }
    providers::available(world, level.resource_type(), location)?;
    access::policies(world, &call.route, asked)?;
    let item = GalleryItem {
        level,
        id: present.map_or_else(|| call.route.scope.clone(), |present| present.id.clone()),
        region: normalized_region(location),
        tags: world.kept_tags(body::tags(asked)?),
        properties: without_nulls(&asked["properties"]),
        state: ImageState::Succeeded,
        replicas: BTreeMap::new(),
    };
    match level {
        GalleryLevel::Gallery => Ok(item),
        GalleryLevel::Definition => definition(item, present),
        GalleryLevel::Version => version(world, call, item, present),
        GalleryLevel::Collection => restore_points::collection(world, item),
        GalleryLevel::RestorePoint => restore_points::point(world, call, item, present),
    }
}

fn not_allowed(name: &str) -> ArmAnswer {
    let message = format!("Changing property '{name}' is not allowed.");
    ArmAnswer::error(StatusCode::CONFLICT, "PropertyChangeNotAllowed", message).target(name)
}

/// Source: specification, `GalleryImageProperties`: the properties that are not described as updatable.
fn definition(mut item: GalleryItem, present: Option<&GalleryItem>) -> Result<GalleryItem, ArmAnswer> {
    for required in ["osType", "osState", "identifier"] {
        if item.properties[required].is_null() {
            return Err(ArmAnswer::missing(&format!("galleryImage.properties.{required}")));
        }
    }
    for required in ["publisher", "offer", "sku"] {
        if item.properties["identifier"][required].is_null() {
            return Err(ArmAnswer::missing(&format!("galleryImage.properties.identifier.{required}")));
        }
    }
    // Source: recorded: the response has these also if the request has not.
    for (name, default) in [("hyperVGeneration", "V1"), ("architecture", "x64")] {
        if item.properties[name].is_null() {
            item.properties[name] = json!(default);
        }
    }
    let security = |item: &GalleryItem| {
        let features = item.properties["features"].as_array().cloned().unwrap_or_default();
        features.into_iter().find(|feature| feature["name"] == "SecurityType").map(|feature| feature["value"].clone())
    };
    if let Some(present) = present {
        for name in ["osType", "osState", "hyperVGeneration", "architecture", "identifier"] {
            let text = |item: &GalleryItem| item.properties[name].to_string().to_ascii_lowercase();
            if text(&item) != text(present) {
                return Err(not_allowed(&format!("galleryImage.properties.{name}")));
            }
        }
        if security(&item) != security(present) {
            return Err(not_allowed("galleryImage.properties.features"));
        }
    }
    Ok(item)
}

fn version(
    world: &TenantState,
    call: &Call,
    mut item: GalleryItem,
    present: Option<&GalleryItem>,
) -> Result<GalleryItem, ArmAnswer> {
    let invalid = |message: String, target: &str| ArmAnswer::bad_request("InvalidParameter", message).target(target);
    let numbers: Vec<&str> = call.route.name.split('.').collect();
    if numbers.len() != 3 || numbers.iter().any(|number| number.parse::<i32>().is_err()) {
        let message = format!("The gallery image version name '{}' is invalid.", call.route.name);
        return Err(invalid(message, "galleryImageVersionName"));
    }
    if item.properties["storageProfile"].is_null() {
        return Err(ArmAnswer::missing("galleryImageVersion.properties.storageProfile"));
    }
    let regions = item.region_names();
    // Source: Azure, shared-image-galleries: the source region is one of the target regions.
    if !regions.contains(&item.region) {
        let message =
            "The gallery image version cannot be created: its region is not in the target regions.".to_owned();
        return Err(invalid(message, "publishingProfile.targetRegions"));
    }
    for region in &regions {
        providers::available(world, GalleryLevel::Version.resource_type(), region)?;
    }
    let targets = item.properties["publishingProfile"]["targetRegions"].as_array().cloned().unwrap_or_default();
    let replicas: i64 = targets.iter().map(|region| region["regionalReplicaCount"].as_i64().unwrap_or(1)).sum();
    if replicas > world.replication.limit {
        // Source: Azure, quotas: the sentence of Compute for a quota.
        let message =
            format!("Operation could not be completed as it results in exceeding approved replica quota: {replicas}.");
        return Err(ArmAnswer::error(StatusCode::CONFLICT, "OperationNotAllowed", message));
    }
    let source = |item: &GalleryItem| {
        let storage = &item.properties["storageProfile"];
        let id = storage.pointer("/osDiskImage/source/id").or(storage.pointer("/source/id"));
        id.and_then(Value::as_str).map(str::to_ascii_lowercase)
    };
    let data = |item: &GalleryItem| -> Vec<(Value, Option<String>)> {
        let disks = item.properties["storageProfile"]["dataDiskImages"].as_array().into_iter().flatten();
        let id = |disk: &Value| disk.pointer("/source/id").and_then(Value::as_str).map(str::to_ascii_lowercase);
        disks.map(|disk| (disk["lun"].clone(), id(disk))).collect()
    };
    match present {
        Some(present) if source(present) != source(&item) => return Err(not_allowed("osDiskImage.source.id")),
        // Source: specification, `GalleryDataDiskImage`: the sources are not described as updatable.
        Some(present) if data(present) != data(&item) => return Err(not_allowed("dataDiskImages")),
        Some(present) => removal(&item, present)?,
        None => {
            check_source(world, &item, source(&item))?;
            let disks = data(&item);
            let mut luns: Vec<&Value> = disks.iter().map(|(lun, _)| lun).collect();
            luns.sort_by_key(|lun| lun.as_i64());
            luns.dedup();
            if luns.len() != disks.len() || luns.iter().any(|lun| lun.is_null()) {
                let message = "The data disks of a gallery image version have different LUNs.".to_owned();
                return Err(invalid(message, "storageProfile.dataDiskImages"));
            }
            for (_, id) in disks {
                check_source(world, &item, id)?;
            }
        }
    }
    let published = present.map_or_else(
        || json!(call.now.to_string()),
        |present| present.properties["publishingProfile"]["publishedDate"].clone(),
    );
    item.properties["publishingProfile"]["publishedDate"] = published;
    if let Some(targets) = item.properties["publishingProfile"]["targetRegions"].as_array_mut() {
        for region in targets {
            for (name, default) in [
                ("regionalReplicaCount", json!(1)),
                ("storageAccountType", json!("Standard_LRS")),
                ("excludeFromLatest", json!(false)),
            ] {
                if region[name].is_null() {
                    region[name] = default;
                }
            }
        }
    }
    Ok(item)
}

/// Source: specification, `allowDeletionOfReplicatedLocations`; the code is a guess.
fn removal(item: &GalleryItem, present: &GalleryItem) -> Result<(), ArmAnswer> {
    let kept = item.region_names();
    let allowed = item.properties["safetyProfile"]["allowDeletionOfReplicatedLocations"] != json!(false);
    match present.region_names().iter().find(|region| !kept.contains(region)) {
        Some(region) if !allowed => {
            let message = format!("The gallery image version cannot be removed from {region}.");
            Err(ArmAnswer::error(StatusCode::CONFLICT, "OperationNotAllowed", message))
        }
        _ => Ok(()),
    }
}

fn check_source(world: &TenantState, item: &GalleryItem, source: Option<String>) -> Result<(), ArmAnswer> {
    let missing = |id: &str| {
        let message = format!("Resource {} is not found.", id.rsplit('/').next().unwrap_or_default());
        ArmAnswer::error(StatusCode::NOT_FOUND, "NotFound", message)
    };
    let id = source.ok_or_else(|| ArmAnswer::missing("storageProfile.osDiskImage.source.id"))?;
    if let Some(image) = images::find(world, &id) {
        let is_here = normalized_region(&image.region) == item.region && image.state == ImageState::Succeeded;
        return if is_here { Ok(()) } else { Err(missing(&id)) };
    }
    let disk = disks::find(world, &id).ok_or_else(|| missing(&id))?;
    if normalized_region(&disk.region) != item.region {
        return Err(missing(&id));
    }
    let is_incremental = disk.properties["incremental"] == json!(true);
    if is_incremental && !world.behaviours.gallery_from_incremental {
        let message = format!("The source {id} is an incremental snapshot.");
        return Err(ArmAnswer::bad_request("InvalidParameter", message));
    }
    if !disk.is_complete() {
        let message = format!("The source {id} is not complete.");
        return Err(ArmAnswer::error(StatusCode::CONFLICT, "OperationNotAllowed", message));
    }
    let subscription = item.id.split('/').nth(2).unwrap_or_default();
    if !disk.properties["encryption"]["diskEncryptionSetId"].is_null()
        && !disk.subscription.eq_ignore_ascii_case(subscription)
    {
        // Source: Azure, image-version-encryption: an encrypted source must be in the subscription of the version.
        let message = format!("The source {id} is encrypted, and in another subscription.");
        return Err(ArmAnswer::bad_request("InvalidParameter", message));
    }
    Ok(())
}

/// Starts a deletion. What contains others is not deleted. Source: seen, the message of Resource Manager.
pub(super) fn delete(world: &mut TenantState, call: &Call) -> HandlerResult {
    let key = disks::key(call);
    let Some(item) = find(world, &key).cloned() else { return Ok(ArmAnswer::empty(StatusCode::NO_CONTENT)) };
    // Source: specification, `RestorePointCollections_Delete`: it deletes the restore points in the collection too.
    let contains = world.galleries.iter().any(|other| other.key().starts_with(&format!("{key}/")));
    if contains && item.level != GalleryLevel::Collection {
        let message = "Cannot delete resource while nested resources exist.";
        return Err(ArmAnswer::error(StatusCode::CONFLICT, "CannotDeleteResource", message));
    }
    let settings = operations::settings(world, &call.route.name);
    operations::refused_at_once(&settings)?;
    operations::resolve_collision(world, &key, Change::Delete, call.now)?;
    if settings.at_once {
        remove(world, &key);
        return Ok(ArmAnswer::empty(StatusCode::OK));
    }
    if let Some(found) = find_mut(world, &key) {
        found.state = ImageState::Deleting;
    }
    let mut answer = ArmAnswer::empty(StatusCode::ACCEPTED);
    answer.headers = world.operations.begin(call, &settings, (&key, &item.region), Change::Delete, None);
    Ok(answer)
}

pub(super) fn remove(world: &mut TenantState, key: &str) {
    let below = format!("{key}/");
    world.galleries.retain(|item| item.key() != key && !item.key().starts_with(&below));
}

pub(super) fn set_state(world: &mut TenantState, key: &str, state: ImageState) {
    if let Some(item) = find_mut(world, key) {
        item.state = state;
    }
}

/// The error for a disk of a version that cannot be used in the region of the disk. Source: seen, pulumi-aws#5129.
pub(super) fn use_version(world: &mut TenantState, id: &str, region: &str, now: Timestamp) -> Result<(), ArmAnswer> {
    let is_shallow = find(world, &id.to_ascii_lowercase())
        .is_some_and(|item| item.properties["publishingProfile"]["replicationMode"] == "Shallow");
    if is_shallow && !world.behaviours.gallery_shallow_disk {
        let message = format!("A disk cannot be created from the shallow gallery image {id}.");
        return Err(ArmAnswer::bad_request("InvalidParameter", message));
    }
    let replica = find_mut(world, &id.to_ascii_lowercase()).and_then(|item| item.replicas.get_mut(region));
    if replica.is_some_and(|replica| replica.use_it(now)) {
        return Ok(());
    }
    let message = format!(
        "The gallery image {id} is not available in {region} region. Please contact image owner to replicate to this region, \
         or change your requested region."
    );
    Err(ArmAnswer::error(StatusCode::NOT_FOUND, "GalleryImageNotFound", message))
}
