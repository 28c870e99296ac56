//! PUT of a disk or snapshot. Source: specification, DiskRP 2025-01-02, `Disks_CreateOrUpdate` and
//! `Snapshots_CreateOrUpdate`.

use axum::http::StatusCode;
use serde_json::{Value, json};
use uuid::Uuid;

use super::disk_data::unique_id;
use super::disks::{self, Disk, DiskKind};
use super::images::ImageState;
use super::operations::{self, Change};
use super::pipeline::Call;
use super::put::{canonical, elsewhere, without_nulls};
use super::resources::normalized_region;
use super::response::{ArmAnswer, HandlerResult};
use super::state::TenantState;
use super::{access, body, copies, galleries, providers, restore_points, schema, version_content};

/// The property that the incremental snapshots of a disk share.
pub(super) const FAMILY: &str = "incrementalSnapshotFamilyId";

/// The limits of `uploadSizeBytes`. Source: specification, `CreationData`.
const UPLOAD_BYTES: std::ops::RangeInclusive<i64> = 20_972_032..=35_183_298_347_520;

/// Creates or updates a disk or snapshot.
pub(super) fn put(world: &mut TenantState, call: &Call, kind: DiskKind) -> HandlerResult {
    let asked = body::parse(&call.body)?;
    let disk = wanted(world, call, kind, &asked)?;
    use_version(world, call, &disk)?;
    let settings = operations::settings(world, &call.route.name);
    operations::refused_at_once(&settings)?;
    let key = disk.key();
    let present = disks::find(world, &key).cloned();
    let new = present.as_ref().is_none_or(|present| present.state == ImageState::Creating);
    let change = if new { Change::Create } else { Change::Update };
    operations::resolve_collision(world, &key, change, call.now)?;
    world.log.accepted.push(call.accepted(&asked));
    let state = match (settings.at_once, new) {
        (true, _) => ImageState::Succeeded,
        (false, true) => ImageState::Creating,
        (false, false) => ImageState::Updating,
    };
    let disk = Disk { state, ..disk };
    let mut answer = ArmAnswer::json(StatusCode::OK, disk.json());
    if !settings.at_once {
        // Source: recorded: 202, also for a new resource.
        answer = ArmAnswer::json(StatusCode::ACCEPTED, disk.accepted_json());
        answer.headers = world.operations.begin(call, &settings, (&key, &disk.region), change, None);
    }
    if let Some(content) = version_content::content(world, &disk).filter(|_| present.is_none()) {
        world.disk_data.set(&unique_id(&disk), content);
    }
    world.disks_before.insert(key.clone(), (settings.stale, present));
    match disks::find_mut(world, &key) {
        Some(place) => *place = disk,
        None => world.disks.push(disk),
    }
    Ok(answer)
}

/// Checks that the gallery version of a new disk can be used in its region.
fn use_version(world: &mut TenantState, call: &Call, disk: &Disk) -> Result<(), ArmAnswer> {
    let data = &disk.properties["creationData"];
    if data["createOption"] != "FromImage" || disks::find(world, &disk.key()).is_some() {
        return Ok(());
    }
    let version = version_content::version_of(world, &data["galleryImageReference"])?;
    galleries::use_version(world, &version, &disk.region, call.now)
}

/// Checks a request. Returns the resource that it leads to.
fn wanted(world: &TenantState, call: &Call, kind: DiskKind, asked: &Value) -> Result<Disk, ArmAnswer> {
    match kind {
        DiskKind::Disk => schema::DISK.check(asked)?,
        DiskKind::Snapshot => schema::SNAPSHOT.check(asked)?,
    }
    let location = asked["location"].as_str().ok_or_else(body::location_required)?;
    let present = disks::find(world, &disks::key(call));
    if let Some(present) = present.filter(|disk| normalized_region(&disk.region) != normalized_region(location)) {
        return Err(elsewhere((&present.name, &present.region, &present.group), location));
    }
    providers::available(world, kind.resource_type(), location)?;
    access::policies(world, &call.route, asked)?;
    let region = normalized_region(location);
    let mut disk = Disk {
        kind,
        subscription: call.route.subscription.clone().unwrap_or_default(),
        group: call.route.group.clone().unwrap_or_default(),
        name: call.route.name.clone(),
        region,
        tags: world.kept_tags(body::tags(asked)?),
        members: members(asked),
        properties: normalised(&asked["properties"]),
        state: ImageState::Succeeded,
        arriving: None,
        source_gone: false,
        source_order: None,
    };
    match present {
        Some(present) => update(&mut disk, present)?,
        None => create(world, call, &mut disk)?,
    }
    Ok(disk)
}

fn members(asked: &Value) -> std::collections::BTreeMap<String, Value> {
    let mut members: std::collections::BTreeMap<_, _> = ["sku", "zones"]
        .into_iter()
        .filter(|name| !asked[*name].is_null())
        .map(|name| (name.to_owned(), asked[name].clone()))
        .collect();
    // Source: recorded: the tier is returned with the name.
    if let Some(sku) = members.get_mut("sku").filter(|sku| sku["tier"].is_null()) {
        sku["tier"] = json!("Standard");
    }
    members
}

/// Properties as they are stored: without nulls and without those that only the platform sets.
fn normalised(asked: &Value) -> Value {
    let mut kept = without_nulls(asked);
    if let Some(members) = kept.as_object_mut() {
        for set in ["provisioningState", "diskState", "uniqueId", "timeCreated", "diskSizeBytes", "completionPercent"] {
            members.remove(set);
        }
    } else {
        kept = json!({});
    }
    canonical(&mut kept, "osType", &["Windows", "Linux"]);
    canonical(&mut kept, "hyperVGeneration", &["V1", "V2"]);
    kept
}

/// The origin cannot be changed. Source: specification, `creationData`: immutable.
fn update(disk: &mut Disk, present: &Disk) -> Result<(), ArmAnswer> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_ascii_lowercase();
    for name in ["createOption", "sourceResourceId"] {
        let at = |disk: &Disk| text(&disk.properties["creationData"][name]);
        if at(disk) != at(present) {
            let name = format!("{}.creationData.{name}", disk.name);
            let message = format!("Changing property '{name}' is not allowed.");
            return Err(ArmAnswer::error(StatusCode::CONFLICT, "PropertyChangeNotAllowed", message).target(&name));
        }
    }
    if let Some(owner) = present.members.get("managedBy") {
        disk.members.insert("managedBy".to_owned(), owner.clone());
    }
    let all = ["creationData", "diskState", "uniqueId", "timeCreated", "diskSizeBytes", "diskSizeGB", FAMILY];
    for kept in all {
        if !present.properties[kept].is_null() {
            disk.properties[kept] = present.properties[kept].clone();
        }
    }
    for inherited in ["osType", "hyperVGeneration"] {
        if disk.properties[inherited].is_null() && !present.properties[inherited].is_null() {
            disk.properties[inherited] = present.properties[inherited].clone();
        }
    }
    disk.name.clone_from(&present.name);
    disk.arriving = present.arriving;
    disk.source_gone = present.source_gone;
    disk.source_order.clone_from(&present.source_order);
    Ok(())
}

fn create(world: &TenantState, call: &Call, disk: &mut Disk) -> Result<(), ArmAnswer> {
    let option = disk.properties["creationData"]["createOption"].as_str().unwrap_or_default().to_owned();
    let (bytes, state) = match option.as_str() {
        "Upload" => (upload(disk)?, "ReadyToUpload"),
        "Copy" | "CopyStart" => {
            let source = source(world, call, disk, &option)?.clone();
            copy(disk, &source);
            if let Some(family) = copies::family(disk, &source) {
                disk.properties[FAMILY] = json!(family);
            }
            if option == "CopyStart" {
                copies::check(world, disk, &source)?;
                disk.source_order = Some(copies::order(&source));
                disk.arriving = Some((world.copy_reads, world.copy_reads));
            }
            (source.properties["diskSizeBytes"].as_i64().unwrap_or_default(), "Unattached")
        }
        // The use of the version is checked before the disk is created.
        "Restore" if disk.kind == DiskKind::Disk => {
            (i64::try_from(restore_points::restore(world, disk)?).unwrap_or_default(), "Unattached")
        }
        "FromImage" if disk.kind == DiskKind::Disk => {
            let size = version_content::fill(world, disk)?;
            disk.properties["diskSizeGB"] = json!(size.div_ceil(1 << 30));
            (i64::try_from(size).unwrap_or_default(), "Unattached")
        }
        "" => return Err(ArmAnswer::missing("creationData.createOption")),
        other => {
            let message = format!("The double does not support the create option '{other}'.");
            return Err(ArmAnswer::bad_request("InvalidParameter", message).target("creationData.createOption"));
        }
    };
    disk.properties["diskSizeBytes"] = json!(bytes);
    disk.properties["diskState"] = json!(state);
    disk.properties["uniqueId"] = json!(Uuid::new_v4().to_string());
    disk.properties["timeCreated"] = json!(call.now.to_string());
    Ok(())
}

/// The size of a direct upload without its footer. Source: recorded: the response has no `diskSizeGB`.
fn upload(disk: &Disk) -> Result<i64, ArmAnswer> {
    let bytes = disk.properties["creationData"]["uploadSizeBytes"].as_i64().unwrap_or_default();
    if disk.kind == DiskKind::Disk && UPLOAD_BYTES.contains(&bytes) && bytes % 512 == 0 {
        return Ok(bytes - 512);
    }
    let message = format!("The value '{bytes}' of parameter 'creationData.uploadSizeBytes' is out of range.");
    Err(ArmAnswer::bad_request("InvalidParameter", message).target("creationData.uploadSizeBytes"))
}

/// Takes over what a copy inherits. Source: seen, Azure/azure-cli#22561: the security profile is not inherited.
fn copy(disk: &mut Disk, source: &Disk) {
    for inherited in ["osType", "hyperVGeneration"] {
        if disk.properties[inherited].is_null() && !source.properties[inherited].is_null() {
            disk.properties[inherited] = source.properties[inherited].clone();
        }
    }
    disk.properties["creationData"]["sourceUniqueId"] = source.properties["uniqueId"].clone();
    if disk.properties["diskSizeGB"].is_null() {
        let bytes = source.properties["diskSizeBytes"].as_u64().unwrap_or_default();
        disk.properties["diskSizeGB"] = json!(bytes.div_ceil(1 << 30));
    }
}

/// The source of a copy. Source: Azure, disks-copy-incremental-snapshot-across-regions. Codes that are not named there
/// are guesses.
fn source<'w>(world: &'w TenantState, call: &Call, disk: &Disk, option: &str) -> Result<&'w Disk, ArmAnswer> {
    let id = disk.properties["creationData"]["sourceResourceId"].as_str().unwrap_or_default();
    let missing = || {
        let message = format!("Resource {} is not found.", id.rsplit('/').next().unwrap_or_default());
        ArmAnswer::error(StatusCode::NOT_FOUND, "NotFound", message)
    };
    let invalid = |message: &str| ArmAnswer::bad_request("InvalidParameter", message).target("creationData");
    let source = disks::find(world, &id.to_ascii_lowercase()).ok_or_else(missing)?;
    let tenant = |id: &str| world.find_subscription(id).map(|found| found.tenant.clone());
    let of_source = tenant(&source.subscription);
    let has_token = |tenant: &String| call.auxiliary.iter().any(|other| other.tenant.eq_ignore_ascii_case(tenant));
    let is_linked = world.behaviours.auxiliary_tokens && of_source.as_ref().is_some_and(has_token);
    if of_source != tenant(&disk.subscription) && !is_linked {
        // Source: seen, MicrosoftDocs/azure-docs#48443.
        let message = format!(
            "The client has permission to write {}, but the linked scope {id} is in another tenant.",
            disk.id()
        );
        return Err(ArmAnswer::error(StatusCode::FORBIDDEN, "LinkedAuthorizationFailed", message));
    }
    if option == "Copy" && normalized_region(&source.region) != disk.region {
        return Err(missing());
    }
    let incremental = |disk: &Disk| disk.kind == DiskKind::Snapshot && disk.properties["incremental"] == json!(true);
    if option == "CopyStart" && !(incremental(source) && incremental(disk)) {
        return Err(invalid("CopyStart is supported for incremental snapshots only."));
    }
    let other_subscription = !source.subscription.eq_ignore_ascii_case(&disk.subscription);
    if source.kind == DiskKind::Disk && incremental(disk) && other_subscription {
        return Err(invalid("An incremental snapshot must be in the subscription of its disk."));
    }
    let behaviours = &world.behaviours;
    let of_snapshot = source.kind == DiskKind::Snapshot;
    let same_region = normalized_region(&source.region) == disk.region;
    let is_copy = source.properties["creationData"]["createOption"] == json!("CopyStart");
    let refusals = [
        (
            option == "Copy" && of_snapshot && incremental(disk) && other_subscription,
            behaviours.copy_across_subscriptions,
        ),
        (option == "CopyStart" && same_region, behaviours.copy_start_in_region),
        (option == "CopyStart" && other_subscription, behaviours.copy_start_across_subscriptions),
        (option == "CopyStart" && is_copy, behaviours.copy_start_from_copy),
        (!disk.properties["encryption"]["diskEncryptionSetId"].is_null(), behaviours.encryption_set_at_copy),
    ];
    if refusals.iter().any(|(applies, permitted)| *applies && !permitted) {
        return Err(invalid("The operation is not supported for this source."));
    }
    if !source.is_complete() {
        let message = format!("The source {id} is not complete.");
        return Err(ArmAnswer::error(StatusCode::CONFLICT, "OperationNotAllowed", message));
    }
    Ok(source)
}
