//! Managed disks and snapshots. Source: specification, DiskRP 2025-01-02, `Disks_*` and `Snapshots_*`, and recordings
//! of azure-cli: `test_completion_percent.yaml`, `test_vm_disk_upload.yaml`.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::images::ImageState;
use super::operations::{self, Change};
use super::pipeline::{Call, page};
use super::response::{ArmAnswer, HandlerResult};
use super::state::TenantState;

/// Whether a resource is a disk or a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DiskKind {
    /// A managed disk.
    Disk,
    /// A snapshot.
    Snapshot,
}

impl DiskKind {
    /// The resource type.
    #[must_use]
    pub fn resource_type(self) -> &'static str {
        match self {
            Self::Disk => "Microsoft.Compute/disks",
            Self::Snapshot => "Microsoft.Compute/snapshots",
        }
    }
}

/// A managed disk or snapshot.
#[derive(Debug, Clone)]
pub struct Disk {
    /// Its kind.
    pub kind: DiskKind,
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
    /// Its members besides these, its properties and its id, such as `sku`.
    pub members: BTreeMap<String, Value>,
    /// Its properties except the provisioning state and the completion.
    pub properties: Value,
    /// Its provisioning state.
    pub state: ImageState,
    /// The number of GETs that still find the content incomplete, and their total. None if the content did not have to
    /// arrive.
    pub arriving: Option<(u32, u32)>,
    /// Whether the source was deleted before the content had arrived.
    pub source_gone: bool,
    /// For a copy from another region: the time of creation and the unique id of its source.
    pub(super) source_order: Option<(String, String)>,
}

impl Disk {
    /// Its id.
    #[must_use]
    pub fn id(&self) -> String {
        let (subscription, group, name) = (&self.subscription, &self.group, &self.name);
        format!("/subscriptions/{subscription}/resourceGroups/{group}/providers/{}/{name}", self.kind.resource_type())
    }

    pub(super) fn key(&self) -> String {
        self.id().to_ascii_lowercase()
    }

    /// The resource as a GET returns it.
    #[must_use]
    pub fn json(&self) -> Value {
        let mut properties = self.properties.clone();
        properties["provisioningState"] = json!(format!("{:?}", self.state));
        if self.kind == DiskKind::Snapshot {
            properties["completionPercent"] = json!(self.percent());
        }
        if self.source_gone {
            // Source: specification, `CopyCompletionError`. The message is a guess.
            let message = "The source snapshot was deleted before the background copy completed.";
            properties["copyCompletionError"] = json!({ "errorCode": "CopySourceNotFound", "errorMessage": message });
        }
        let mut value = json!({
            "id": self.id(), "name": self.name, "type": self.kind.resource_type(),
            "location": self.region, "tags": self.tags, "properties": properties,
        });
        for (name, member) in &self.members {
            value[name] = member.clone();
        }
        value
    }

    /// The part of the content that has arrived. Source: recorded: a floating point number, first 0.0.
    fn percent(&self) -> f64 {
        match self.arriving {
            Some((left, total)) if total > 0 => 100.0 - f64::from(left) * 100.0 / f64::from(total),
            _ => 100.0,
        }
    }

    /// Whether the content is complete.
    pub(super) fn is_complete(&self) -> bool {
        self.has_arrived() && !self.source_gone && !self.awaits_upload()
    }

    fn has_arrived(&self) -> bool {
        self.arriving.is_none_or(|(left, _)| left == 0)
    }

    /// Whether the content is on its way from another region.
    pub(super) fn is_arriving(&self) -> bool {
        !self.has_arrived() && !self.source_gone
    }

    fn awaits_upload(&self) -> bool {
        matches!(self.properties["diskState"].as_str(), Some("ReadyToUpload" | "ActiveUpload"))
    }

    /// The body that accepts a change: without the properties that the change produces. Source: recorded.
    pub(super) fn accepted_json(&self) -> Value {
        let mut value = self.json();
        value["properties"]["provisioningState"] = json!("Updating");
        if let Some(properties) = value["properties"].as_object_mut() {
            for produced in [
                "diskState",
                "completionPercent",
                "uniqueId",
                "timeCreated",
                "diskSizeBytes",
                "incrementalSnapshotFamilyId",
                "copyCompletionError",
            ] {
                properties.remove(produced);
            }
        }
        value
    }
}

pub(super) fn find<'w>(world: &'w TenantState, key: &str) -> Option<&'w Disk> {
    world.disks.iter().find(|disk| disk.key() == key)
}

pub(super) fn find_mut<'w>(world: &'w mut TenantState, key: &str) -> Option<&'w mut Disk> {
    world.disks.iter_mut().find(|disk| disk.key() == key)
}

/// Removes a disk or snapshot. Copies whose content is arriving from it fail. Source: Azure,
/// disks-copy-incremental-snapshot-across-regions: the source must exist until the copy is complete.
pub(super) fn remove(world: &mut TenantState, key: &str) {
    let removed = find(world, key).map(|disk| disk.properties["uniqueId"].clone());
    world.disks.retain(|disk| disk.key() != key);
    let Some(unique_id) = removed.filter(|id| !id.is_null()) else { return };
    for disk in world.disks.iter_mut().filter(|disk| disk.is_arriving()) {
        disk.source_gone = disk.properties["creationData"]["sourceUniqueId"] == unique_id;
    }
}

pub(super) fn key(call: &Call) -> String {
    call.route.scope.to_ascii_lowercase()
}

pub(super) fn not_found(call: &Call, kind: DiskKind) -> ArmAnswer {
    let group = call.route.group.as_deref().unwrap_or_default();
    ArmAnswer::resource_not_found(kind.resource_type(), &call.route.name, group)
}

/// Lists resources. Source: recorded for images: ids have the resource group in upper case.
pub(super) fn list(world: &TenantState, call: &Call, kind: DiskKind) -> HandlerResult {
    let route = &call.route;
    let here = |disk: &&Disk| {
        disk.kind == kind
            && route.subscription.as_ref().is_some_and(|id| id.eq_ignore_ascii_case(&disk.subscription))
            && route.group.as_ref().is_none_or(|group| group.eq_ignore_ascii_case(&disk.group))
    };
    let values = world.disks.iter().filter(here).map(Disk::json);
    Ok(page(world, call, values.map(|value| world.as_listed(value)).collect()))
}

/// Returns a disk or snapshot. Each call counts as a poll, and lets a part of the content of a copy arrive.
pub(super) fn get(world: &mut TenantState, call: &Call, kind: DiskKind) -> HandlerResult {
    let key = key(call);
    if let Some((left @ 1.., before)) = world.disks_before.get_mut(&key) {
        *left -= 1;
        return before.as_ref().map(|disk| ArmAnswer::ok(disk.json())).ok_or_else(|| not_found(call, kind));
    }
    world.operations.count_poll(&key);
    if world.behaviours.expiry_ends_access && !world.disk_data.has_access(&key, call.now) {
        let states = [("ActiveSAS", "Unattached"), ("ActiveUpload", "ReadyToUpload")];
        let disk = find(world, &key);
        let next = disk.and_then(|disk| states.iter().find(|(active, _)| disk.properties["diskState"] == *active));
        if let (Some((_, next)), Some(disk)) = (next, find_mut(world, &key)) {
            disk.properties["diskState"] = json!(next);
        }
    }
    let disk = find_mut(world, &key).ok_or_else(|| not_found(call, kind))?;
    let answer = ArmAnswer::ok(disk.json());
    if !disk.source_gone
        && let Some((left @ 1.., _)) = &mut disk.arriving
    {
        *left -= 1;
    }
    Ok(answer)
}

/// Starts a deletion. Source: recorded: 202 with both headers; specification: 204 if it does not exist.
pub(super) fn delete(world: &mut TenantState, call: &Call) -> HandlerResult {
    let key = key(call);
    let Some(disk) = find(world, &key).cloned() else { return Ok(ArmAnswer::empty(StatusCode::NO_CONTENT)) };
    // Source: Azure, delete a disk: access must be revoked first. The code is a guess.
    if matches!(disk.properties["diskState"].as_str(), Some("ActiveUpload" | "ActiveSAS")) {
        let message = format!("There is an active shared access signature outstanding for {}.", disk.name);
        return Err(ArmAnswer::error(StatusCode::CONFLICT, "OperationNotAllowed", message));
    }
    if let Some(owner) = disk.members.get("managedBy").and_then(Value::as_str) {
        // Source: seen, the message of Microsoft.Compute for a disk in use.
        let message = format!("Disk {} is attached to VM {owner}.", disk.name);
        return Err(ArmAnswer::error(StatusCode::CONFLICT, "OperationNotAllowed", message));
    }
    if !world.behaviours.image_outlives_snapshot
        && let Some(image) =
            world.images.iter().find(|image| image.json().to_string().to_ascii_lowercase().contains(&key))
    {
        let message = format!("Snapshot {} is in use by image {}.", disk.name, image.name);
        return Err(ArmAnswer::error(StatusCode::CONFLICT, "OperationNotAllowed", message));
    }
    let settings = operations::settings(world, &call.route.name);
    operations::refused_at_once(&settings)?;
    operations::resolve_collision(world, &key, Change::Delete, call.now)?;
    if settings.at_once {
        remove(world, &key);
        return Ok(ArmAnswer::empty(StatusCode::OK));
    }
    world.disks_before.insert(key.clone(), (settings.stale, Some(disk.clone())));
    if let Some(disk) = find_mut(world, &key) {
        disk.state = ImageState::Deleting;
    }
    let mut answer = ArmAnswer::empty(StatusCode::ACCEPTED);
    answer.headers = world.operations.begin(call, &settings, (&key, &disk.region), Change::Delete, None);
    Ok(answer)
}
