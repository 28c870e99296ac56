//! The rules of the platform for resources, for adapters that emulate it. They decide about requests; the adapters
//! store the results and move the bytes.

mod copies;
pub mod galleries;
pub mod machines;
pub mod restore_points;

use std::borrow::Cow;
use std::collections::BTreeSet;

use goldfleet_model::resource::{
    CreateOption, CreationData, DiskProperties, DiskState, ImageDisk, ImageProperties, Properties, ResourceBody,
    ResourceId, ResourceType,
};
use goldfleet_model::tenants::Tenants;
use jiff::Timestamp;

pub use copies::{
    FamilyOrder, MAX_COPIES, RegionalCopy, check_copy_start, check_difference, family_of, is_copy_start, order_of,
    source_gone,
};

use super::{Provisioning, PutMode, PutRequest, Resource};
use crate::disk_access::Access;
use crate::error::{ErrorKind, PortError, PortResult};

/// The limits of `uploadSizeBytes`. Source: Microsoft.Compute, DiskRP 2025-01-02, `CreationData`: 20 MiB and 32 TiB,
/// each with 512 bytes for the footer.
const UPLOAD_BYTES: std::ops::RangeInclusive<u64> = 20_972_032..=35_183_298_347_520;

/// The length of the footer of a VHD in bytes.
const FOOTER: u64 = 512;

const GIB: u64 = 1 << 30;

fn refused(kind: ErrorKind, code: &str, message: String) -> PortError {
    PortError::new(kind, message).with_code(code)
}

/// Checks a request against the existing resource of that name: its mode, its type, its region and its source.
///
/// # Errors
/// `AlreadyExists`, or `Invalid` with the code of the platform.
pub fn check_put(request: &PutRequest, existing: Option<&Resource>) -> PortResult<()> {
    let PutRequest { id, body, .. } = request;
    if body.properties.resource_type() != id.resource_type {
        let message = format!("{id} is a {}, and the request is for another type", id.resource_type.noun());
        return Err(refused(ErrorKind::Invalid, "resource-type-mismatch", message));
    }
    let Some(existing) = existing else { return Ok(()) };
    if request.mode == PutMode::Create {
        return Err(PortError::new(ErrorKind::AlreadyExists, format!("{id} exists")));
    }
    if existing.body.region != body.region {
        let message = format!("{id} is in {} and cannot be moved to {}", existing.body.region, body.region);
        return Err(refused(ErrorKind::Invalid, region_change(id.resource_type), message));
    }
    let (before, after) = (origin(&existing.body.properties), origin(&body.properties));
    let same = before.0 == after.0 && before.1.eq_ignore_ascii_case(&after.1);
    // The names of blobs are case-sensitive. Resource ids are not.
    if !same || (!before.1.starts_with('/') && before.1 != after.1) {
        let message = format!("{id} was created from {} and cannot be created from {}", before.1, after.1);
        return Err(refused(ErrorKind::Invalid, "property-change-not-allowed", message));
    }
    Ok(())
}

/// The code of a PUT with another region than that of the existing resource.
#[must_use]
pub fn region_change(resource_type: ResourceType) -> &'static str {
    match resource_type {
        ResourceType::Image => "image-region-change",
        _ => "region-change",
    }
}

/// The properties that cannot be changed: how the resource gets its content, and its source.
fn origin(properties: &Properties) -> (Option<&CreateOption>, Cow<'_, str>) {
    match properties {
        Properties::Image(image) => {
            let sources: Vec<&str> = image.disks().filter_map(|disk| disk.source()).collect();
            (None, sources.join(" ").into())
        }
        Properties::Disk(disk) => origin_of_disk(disk),
        Properties::Snapshot(snapshot) => origin_of_disk(&snapshot.disk),
        // The data disks of a machine can change on the platform. No adapter that emulates it supports that.
        Properties::Machine(machine) => {
            let disks: Vec<&str> = machine.disks().filter_map(|disk| disk.disk_id()).collect();
            (None, disks.join(" ").into())
        }
        Properties::GalleryVersion(version) => (None, version.source().unwrap_or_default().into()),
        Properties::RestorePointCollection(collection) => {
            (None, collection.source.as_ref().map_or("", |source| source.id.as_str()).into())
        }
        Properties::DiskRestorePoint(disk) => origin_of_disk(&disk.disk),
        Properties::Gallery(_) | Properties::Definition(_) | Properties::RestorePoint(_) => (None, "".into()),
    }
}

fn origin_of_disk(disk: &DiskProperties) -> (Option<&CreateOption>, Cow<'_, str>) {
    let data = &disk.creation_data;
    (Some(&data.create_option), data.source_resource_id.as_deref().unwrap_or_default().into())
}

/// The disk or snapshot from which the resource of a request gets its content, for an image that of its OS disk. A
/// gallery version may also have a managed image. None if it has no such source. A gallery version of a disk is not
/// such a source: see
/// [`galleries::version_of`].
///
/// # Errors
/// `Invalid` if the id of the source is of another type.
pub fn source_of(request: &PutRequest) -> PortResult<Option<ResourceId>> {
    let source = match &request.body.properties {
        Properties::Image(image) => image.os_disk().and_then(resource_of),
        Properties::GalleryVersion(version) => version.source(),
        other => other.disk().and_then(|disk| disk.creation_data.source_resource_id.as_deref()),
    };
    source.map(|source| id_of_source(request, source)).transpose()
}

/// The disks and snapshots from which the data disks of an image or gallery version get their content, each with its
/// LUN.
///
/// # Errors
/// `Invalid` if an id is not that of a disk or snapshot.
pub fn data_sources_of(request: &PutRequest) -> PortResult<Vec<(u32, ResourceId)>> {
    let sources: Vec<(u32, &str)> = match &request.body.properties {
        Properties::Image(ImageProperties { storage_profile: Some(profile), .. }) => {
            profile.data_disks.iter().filter_map(|data| Some((data.lun, resource_of(&data.disk)?))).collect()
        }
        Properties::GalleryVersion(version) => {
            let data = version.data_disks().iter();
            data.filter_map(|data| Some((data.lun, data.disk.source.as_ref()?.id.as_deref()?))).collect()
        }
        _ => Vec::new(),
    };
    sources.into_iter().map(|(lun, source)| Ok((lun, id_of_source(request, source)?))).collect()
}

/// Whether a disk is created from one in a restore point.
fn is_restore(request: &PutRequest) -> bool {
    let data = request.body.properties.disk().map(|disk| &disk.creation_data.create_option);
    request.id.resource_type == ResourceType::Disk && data == Some(&CreateOption::Restore)
}

fn resource_of(disk: &ImageDisk) -> Option<&str> {
    disk.snapshot.as_ref().or(disk.managed_disk.as_ref()).map(|attachment| attachment.id.as_str())
}

fn id_of_source(request: &PutRequest, source: &str) -> PortResult<ResourceId> {
    let is_version = request.id.resource_type == ResourceType::GalleryVersion;
    match source.parse::<ResourceId>() {
        Ok(id) if matches!(id.resource_type, ResourceType::Disk | ResourceType::Snapshot) => Ok(id),
        Ok(id) if id.resource_type == ResourceType::Image && is_version => Ok(id),
        Ok(id) if id.resource_type == ResourceType::DiskRestorePoint && is_restore(request) => Ok(id),
        _ => {
            let message = format!("{}: {source} is not the id of a disk or snapshot", request.id);
            Err(refused(ErrorKind::Invalid, "linked-invalid-property-id", message))
        }
    }
}

/// Checks that the source of a request is in the tenant of its result. Source: seen, MicrosoftDocs/azure-docs#48443.
///
/// # Errors
/// `Denied` with the code of the platform.
pub fn check_tenants(request: &PutRequest, tenants: &Tenants) -> PortResult<()> {
    let Some(source) =
        source_of(request)?.filter(|source| tenants.differ(&source.subscription, &request.id.subscription))
    else {
        return Ok(());
    };
    let message = format!(
        "{}: the identity has permission to create it, but the linked scope {source} is in another tenant",
        request.id
    );
    Err(refused(ErrorKind::Denied, "authorization-failed", message))
}

/// Checks that no two data disks of an image or gallery version have the same LUN.
///
/// # Errors
/// `Invalid` with the code of the platform.
pub fn check_luns(id: &ResourceId, mut luns: impl Iterator<Item = u32>) -> PortResult<()> {
    let mut known = BTreeSet::new();
    match luns.find(|lun| !known.insert(*lun)) {
        None => Ok(()),
        Some(lun) => {
            let message = format!("{id}: two data disks have LUN {lun}");
            Err(refused(ErrorKind::Invalid, "invalid-parameter", message))
        }
    }
}

/// The LUNs of the data disks of an image.
pub fn luns_of(image: &ImageProperties) -> impl Iterator<Item = u32> {
    let data = image.storage_profile.as_ref().map_or(&[][..], |profile| &profile.data_disks);
    data.iter().map(|data| data.lun)
}

/// Checks the source of an image that is created from a disk or snapshot.
///
/// # Errors
/// `NotFound` or `Conflict` with the code of the platform.
pub fn check_image_source(request: &PutRequest, source: Option<&Resource>) -> PortResult<()> {
    source_in_region(request, source).map(|_| ())
}

/// The identity of a new disk or snapshot.
#[derive(Debug, Clone)]
pub struct NewIdentity {
    /// Its unique id.
    pub unique_id: String,
    /// The time of its creation.
    pub created: Timestamp,
}

/// The resource that a request for a disk or snapshot creates. `source` is the resource of [`source_of`], if it
/// exists.
///
/// # Errors
/// If the platform would refuse the request.
pub fn new_disk(request: &PutRequest, source: Option<&Resource>, identity: NewIdentity) -> PortResult<Resource> {
    let mut body = request.body.clone();
    let of_source = match data(&request.body)?.create_option {
        CreateOption::Upload => {
            check_upload(request)?;
            None
        }
        CreateOption::Copy | CreateOption::Restore => Some(source_in_region(request, source)?),
        CreateOption::CopyStart => Some(source_of_copy_start(request, source)?),
        CreateOption::Empty | CreateOption::FromImage | CreateOption::Other(_) => {
            let message = format!(
                "{}: this cloud creates disks by Upload, Copy, CopyStart and Restore, and FromImage of gallery versions",
                request.id
            );
            return Err(refused(ErrorKind::Invalid, "create-option-unsupported", message));
        }
    };
    check_incremental(request, source)?;
    if let Some(disk) = body.properties.disk_mut() {
        fill_in(disk, of_source, identity);
    }
    if let Properties::Snapshot(snapshot) = &mut body.properties {
        snapshot.completion_percent = Some(100.0);
        snapshot.incremental_snapshot_family_id = source.and_then(|source| family_of(request, source));
    }
    Ok(Resource { id: request.id.clone(), provisioning: Provisioning::Succeeded, body })
}

fn data(body: &ResourceBody) -> PortResult<&CreationData> {
    let missing =
        || refused(ErrorKind::Invalid, "create-option-unsupported", "an image has no creation data".to_owned());
    body.properties.disk().map(|disk| &disk.creation_data).ok_or_else(missing)
}

/// Sets the properties that the platform sets, and those that a copy takes over from its source.
fn fill_in(disk: &mut DiskProperties, source: Option<&DiskProperties>, identity: NewIdentity) {
    disk.unique_id = Some(identity.unique_id);
    disk.time_created = Some(identity.created.to_string());
    disk.disk_state = Some(match disk.creation_data.create_option {
        CreateOption::Upload => DiskState::ReadyToUpload,
        _ => DiskState::Unattached,
    });
    disk.disk_size_bytes = disk.creation_data.upload_size_bytes.map(|bytes| bytes - FOOTER);
    let Some(source) = source else { return };
    disk.creation_data.source_unique_id.clone_from(&source.unique_id);
    disk.os_type = disk.os_type.or(source.os_type);
    disk.hyper_v_generation = disk.hyper_v_generation.or(source.hyper_v_generation);
    disk.disk_size_bytes = source.disk_size_bytes;
    disk.disk_size_gb = disk.disk_size_gb.or(source.disk_size_bytes.map(|bytes| bytes.div_ceil(GIB)));
}

fn check_upload(request: &PutRequest) -> PortResult<()> {
    let bytes = data(&request.body)?.upload_size_bytes.unwrap_or_default();
    if request.id.resource_type == ResourceType::Disk && UPLOAD_BYTES.contains(&bytes) && bytes % FOOTER == 0 {
        return Ok(());
    }
    let (first, last) = (UPLOAD_BYTES.start(), UPLOAD_BYTES.end());
    let message = format!(
        "{}: expected a disk with uploadSizeBytes from {first} to {last}, a multiple of {FOOTER}, found {bytes}",
        request.id
    );
    Err(refused(ErrorKind::Invalid, "upload-size-invalid", message))
}

fn source_exists<'a>(request: &PutRequest, source: Option<&'a Resource>) -> PortResult<&'a Resource> {
    source.ok_or_else(|| {
        let message = format!("{}: its source does not exist", request.id);
        refused(ErrorKind::NotFound, "copy-source-not-found", message)
    })
}

/// The source of a copy within a region.
fn source_in_region<'a>(request: &PutRequest, source: Option<&'a Resource>) -> PortResult<&'a DiskProperties> {
    complete_source(request, source_here(request, source)?)
}

/// The source of a request, if it is in the same region.
fn source_here<'a>(request: &PutRequest, source: Option<&'a Resource>) -> PortResult<&'a Resource> {
    let source = source_exists(request, source)?;
    if source.body.region != request.body.region {
        let message = format!("{}: its source {} is in {}", request.id, source.id, source.body.region);
        return Err(refused(ErrorKind::NotFound, "copy-source-not-found", message));
    }
    Ok(source)
}

/// The content of a source, if it is complete.
fn complete_source<'a>(request: &PutRequest, source: &'a Resource) -> PortResult<&'a DiskProperties> {
    let busy = |why: &str| {
        let message = format!("{}: its source {} {why}", request.id, source.id);
        refused(ErrorKind::Conflict, "copy-source-busy", message)
    };
    match (&source.body.properties, source.body.properties.disk()) {
        (Properties::Snapshot(snapshot), _) if !snapshot.is_complete() => Err(busy("is not complete yet")),
        (_, Some(disk)) if disk.disk_state.as_ref().is_some_and(DiskState::awaits_upload) => {
            Err(busy("is waiting for the end of its upload"))
        }
        (_, Some(disk)) => Ok(disk),
        (_, None) => Err(busy("has no content")),
    }
}

/// The source of a copy from another region. Source: Azure, disks-copy-incremental-snapshot-across-regions.
fn source_of_copy_start<'a>(request: &PutRequest, source: Option<&'a Resource>) -> PortResult<&'a DiskProperties> {
    let source = source_exists(request, source)?;
    let incremental = |properties: &Properties| matches!(properties, Properties::Snapshot(snapshot) if snapshot.incremental == Some(true));
    if incremental(&request.body.properties) && incremental(&source.body.properties) {
        return complete_source(request, source);
    }
    let message = format!("{}: CopyStart needs an incremental snapshot as source and as result", request.id);
    Err(refused(ErrorKind::Invalid, "copy-source-not-incremental", message))
}

/// An incremental snapshot of a disk must be in the subscription of the disk. Source: Azure,
/// disks-incremental-snapshots, restrictions.
fn check_incremental(request: &PutRequest, source: Option<&Resource>) -> PortResult<()> {
    let Properties::Snapshot(snapshot) = &request.body.properties else { return Ok(()) };
    match source.filter(|source| source.id.resource_type == ResourceType::Disk) {
        Some(disk) if snapshot.incremental == Some(true) && disk.id.subscription != request.id.subscription => {
            let message = format!("{}: an incremental snapshot must be in the subscription of its disk", request.id);
            Err(refused(ErrorKind::Invalid, "incremental-in-other-subscription", message))
        }
        _ => Ok(()),
    }
}

/// The body of an existing resource after an update: the requested one, with the properties that the platform sets.
#[must_use]
pub fn updated(existing: &ResourceBody, requested: &ResourceBody) -> ResourceBody {
    let mut body = requested.clone();
    if let (Some(disk), Some(before)) = (body.properties.disk_mut(), existing.properties.disk()) {
        disk.unique_id.clone_from(&before.unique_id);
        disk.time_created.clone_from(&before.time_created);
        disk.disk_state.clone_from(&before.disk_state);
        disk.disk_size_bytes = before.disk_size_bytes;
        disk.disk_size_gb = disk.disk_size_gb.or(before.disk_size_gb);
        disk.os_type = disk.os_type.or(before.os_type);
        disk.hyper_v_generation = disk.hyper_v_generation.or(before.hyper_v_generation);
        disk.creation_data = before.creation_data.clone();
        let machine = existing.other.get("managedBy").cloned();
        body.other.extend(machine.map(|id| ("managedBy".to_owned(), id)));
    }
    if let (Some(machine), Some(before)) = (body.properties.machine_mut(), existing.properties.machine()) {
        machine.vm_id.clone_from(&before.vm_id);
        machine.instance_view.clone_from(&before.instance_view);
        machine.other.extend(before.other.get("timeCreated").map(|time| ("timeCreated".to_owned(), time.clone())));
    }
    if let (Properties::Snapshot(snapshot), Properties::Snapshot(before)) = (&mut body.properties, &existing.properties)
    {
        snapshot.completion_percent = before.completion_percent;
        snapshot.copy_completion_error.clone_from(&before.copy_completion_error);
        snapshot.incremental_snapshot_family_id.clone_from(&before.incremental_snapshot_family_id);
    }
    body
}

/// The state of a disk or snapshot after access to it began.
///
/// # Errors
/// `Invalid` if it has no such access, `Conflict` if its content is not complete.
pub fn begin_access(resource: &Resource, access: Access) -> PortResult<DiskState> {
    let id = &resource.id;
    let state = resource.body.properties.disk().and_then(|disk| disk.disk_state.as_ref());
    let awaits_upload = state.is_some_and(DiskState::awaits_upload);
    if matches!(&resource.body.properties, Properties::Snapshot(snapshot) if !snapshot.is_complete()) {
        return Err(refused(ErrorKind::Conflict, "copy-source-busy", format!("{id} is not complete yet")));
    }
    match access {
        _ if resource.body.properties.disk().is_none() => {
            let message = format!("{id} is not a disk or snapshot: there is access to these only");
            Err(refused(ErrorKind::Invalid, "access-not-supported", message))
        }
        // Source: Azure, download a VHD: a disk of a running machine is not exported.
        _ if state.is_some_and(DiskState::is_attached) => {
            Err(refused(ErrorKind::Conflict, "disk-attached", format!("{id} is attached to a machine")))
        }
        Access::Write if awaits_upload => Ok(DiskState::ActiveUpload),
        Access::Read if !awaits_upload => Ok(DiskState::ActiveSas),
        Access::Write => {
            let message = format!("{id} is not waiting for an upload: only a disk that was created for one is written");
            Err(refused(ErrorKind::Invalid, "access-not-supported", message))
        }
        Access::Read => {
            let message = format!("{id} is waiting for the end of its upload");
            Err(refused(ErrorKind::Conflict, "copy-source-busy", message))
        }
    }
}

/// The state of a disk or snapshot after access to it ended.
#[must_use]
pub fn end_access(resource: &Resource) -> DiskState {
    match resource.body.properties.disk().and_then(|disk| disk.disk_state.as_ref()) {
        // They have no access that could end.
        Some(state @ (DiskState::ReadyToUpload | DiskState::Attached | DiskState::Reserved)) => state.clone(),
        _ => DiskState::Unattached,
    }
}

/// The error for a disk or snapshot that does not exist.
#[must_use]
pub fn not_found(id: &ResourceId) -> PortError {
    PortError::new(ErrorKind::NotFound, format!("there is no {} {id}", id.resource_type.noun()))
}
