//! The rules of the platform for galleries, image definitions and gallery versions. Source: Microsoft.Compute,
//! GalleryRP 2024-03-03, and Azure, shared-image-galleries.

use std::collections::BTreeMap;

use goldfleet_model::ids::Region;
use goldfleet_model::manifest::{Generation, OsType};
use goldfleet_model::resource::{
    CreateOption, DefinitionProperties, DiskProperties, DiskState, GalleryVersionProperties, Properties,
    RegionalReplication, ReplicationState, ReplicationStatus, ResourceId, ResourceType, SharedVersion, VersionNumber,
    VersionRef, region_named,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{NewIdentity, Provisioning, PutRequest, Resource, check_luns, refused, source_here, source_in_region};
use crate::error::{ErrorKind, PortError, PortResult};

/// The code of a disk of a version that cannot be used in the region of the disk. Source: seen, pulumi-aws#5129: status
/// 404, `GalleryImageNotFound`.
pub const NOT_IN_REGION: &str = "gallery-image-not-found";

/// The largest number of replicas of a version. Source: Azure, azure-compute-gallery, limits.
pub const MAX_REPLICAS: u32 = 100;

/// The replication to one region. All times are nanoseconds since a moment that the adapter chooses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replica {
    /// When it began.
    pub begins: u64,
    /// When the service reports that it is complete, or that it failed.
    pub completes: u64,
    /// When the version can be used in the region.
    pub usable: u64,
    /// Whether it fails.
    #[serde(default)]
    pub fails: bool,
}

impl Replica {
    fn state(&self, now: u64) -> ReplicationState {
        match (now < self.completes, self.fails) {
            (true, _) => ReplicationState::Replicating,
            (false, true) => ReplicationState::Failed,
            (false, false) => ReplicationState::Completed,
        }
    }

    fn percent(&self, now: u64) -> u32 {
        let (passed, whole) = (now.saturating_sub(self.begins), self.completes.saturating_sub(self.begins));
        let percent = (u128::from(passed) * 100).checked_div(u128::from(whole)).unwrap_or(100).min(100);
        u32::try_from(percent).unwrap_or(100)
    }
}

/// What the platform keeps about a gallery version: its size, and its regions by their programmatic names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replicas {
    /// The number of bytes of the OS disk.
    pub size: u64,
    /// The number of bytes of each data disk, by LUN.
    #[serde(default)]
    pub data: BTreeMap<u32, u64>,
    /// The operating system of the definition.
    #[serde(default)]
    pub os: Option<OsType>,
    /// The generation of the definition.
    #[serde(default)]
    pub generation: Option<Generation>,
    /// The regions.
    pub regions: BTreeMap<String, Replica>,
}

impl Replicas {
    /// A new version in a definition, without regions. `size` and `data` are the sizes of its disks.
    #[must_use]
    pub fn new(definition: Option<&Resource>, size: u64, data: BTreeMap<u32, u64>) -> Self {
        let definition = definition.and_then(|definition| definition.body.properties.definition());
        let (os, generation) = definition.map_or((None, None), |of| (of.os_type, of.hyper_v_generation));
        Self { size, data, os, generation, regions: BTreeMap::new() }
    }

    /// Begins the replication to new regions, and forgets regions that the version does not have any more.
    pub fn follow(&mut self, version: &GalleryVersionProperties, mut begin: impl FnMut(&Region) -> Replica) {
        let wanted: Vec<Region> =
            version.regions().iter().filter_map(|region| region_named(&region.name).parse().ok()).collect();
        self.regions.retain(|name, _| wanted.iter().any(|region| region.as_str() == name));
        for region in wanted {
            self.regions.entry(region.as_str().to_owned()).or_insert_with(|| begin(&region));
        }
    }

    /// Sets what the service reports at `now`: the state of each region, and the provisioning state.
    pub fn show(&self, resource: &mut Resource, now: u64) {
        let Some(version) = resource.body.properties.gallery_version_mut() else { return };
        let summary = self.regions.iter().map(|(region, replica)| {
            let state = replica.state(now);
            let details = if state == ReplicationState::Failed { "The replication failed." } else { "" };
            RegionalReplication {
                region: region.clone(),
                progress: replica.percent(now),
                details: details.to_owned(),
                state,
            }
        });
        version.replication_status = Some(ReplicationStatus { summary: summary.collect(), other: Map::new() });
        let is_done = self.regions.values().all(|replica| replica.completes <= now);
        let has_failed = self.regions.values().any(|replica| replica.fails);
        resource.provisioning = match (is_done, has_failed) {
            (false, _) => Provisioning::InProgress,
            (true, true) => Provisioning::Failed,
            (true, false) => Provisioning::Succeeded,
        };
    }

    /// Whether the version can be used in a region at `now`.
    #[must_use]
    pub fn is_usable(&self, region: &Region, now: u64) -> bool {
        self.regions.get(region.as_str()).is_some_and(|replica| !replica.fails && replica.usable <= now)
    }
}

/// Checks a request for a gallery, a definition or a version. `parent` is the resource that contains it, `sources` are
/// the snapshots of a new version: that of its OS disk, and then those of its data disks, in the order of the request.
///
/// # Errors
/// If the platform would refuse the request.
pub fn check_gallery(
    request: &PutRequest,
    existing: Option<&Resource>,
    parent: Option<&Resource>,
    sources: &[Option<Resource>],
) -> PortResult<()> {
    if let Some(missing) = request.id.parent().filter(|_| parent.is_none()) {
        let message = format!("{}: there is no {} {missing}", request.id, missing.resource_type.noun());
        return Err(refused(ErrorKind::NotFound, "parent-resource-not-found", message));
    }
    match &request.body.properties {
        Properties::Definition(definition) => {
            let before = existing.and_then(|existing| existing.body.properties.definition());
            check_definition(&request.id, definition, before)
        }
        Properties::GalleryVersion(version) => {
            let before = existing.and_then(|existing| existing.body.properties.gallery_version());
            check_version(request, version, before)?;
            check_luns(&request.id, version.data_disks().iter().map(|data| data.lun))?;
            let mut new = sources.iter().filter(|_| before.is_none());
            new.try_for_each(|source| check_version_source(request, source.as_ref()))
        }
        _ => Ok(()),
    }
}

/// The source of a version is a snapshot, a disk, or a managed image.
fn check_version_source(request: &PutRequest, source: Option<&Resource>) -> PortResult<()> {
    let Some(image) = source.filter(|source| source.id.resource_type == ResourceType::Image) else {
        return source_in_region(request, source).map(|_| ());
    };
    let image = source_here(request, Some(image))?;
    if image.provisioning == Provisioning::Succeeded {
        return Ok(());
    }
    let message = format!("{}: its source {} is not complete", request.id, image.id);
    Err(refused(ErrorKind::Conflict, "copy-source-busy", message))
}

fn check_definition(
    id: &ResourceId,
    wanted: &DefinitionProperties,
    before: Option<&DefinitionProperties>,
) -> PortResult<()> {
    for (is_missing, name) in [
        (wanted.os_type.is_none(), "osType"),
        (wanted.os_state.is_none(), "osState"),
        (wanted.identifier.is_none(), "identifier"),
    ] {
        if is_missing {
            return Err(invalid("required-parameter-missing", format!("{id}: {name} is missing")));
        }
    }
    match before.and_then(|before| changed_property(before, wanted)) {
        Some(name) => {
            Err(invalid("property-change-not-allowed", format!("{id}: changing property '{name}' is not allowed")))
        }
        None => Ok(()),
    }
}

/// The name of a property that cannot be changed and that has different values in two definitions. None if there is
/// none. Source: GalleryRP 2024-03-03: the other properties are described as updatable.
#[must_use]
pub fn changed_property(before: &DefinitionProperties, wanted: &DefinitionProperties) -> Option<&'static str> {
    let is_same_text = |one: Option<&str>, other: Option<&str>, default: &str| {
        one.unwrap_or(default).eq_ignore_ascii_case(other.unwrap_or(default))
    };
    let identifier = |of: &DefinitionProperties| {
        let id = of.identifier.clone().unwrap_or_default();
        [id.publisher, id.offer, id.sku].map(|part| part.to_ascii_lowercase())
    };
    let security = |of: &DefinitionProperties| of.feature("SecurityType").map(str::to_owned);
    let checks = [
        (before.os_type == wanted.os_type, "osType"),
        (is_same_text(before.os_state.as_deref(), wanted.os_state.as_deref(), ""), "osState"),
        (before.hyper_v_generation == wanted.hyper_v_generation, "hyperVGeneration"),
        (is_same_text(before.architecture.as_deref(), wanted.architecture.as_deref(), "x64"), "architecture"),
        (identifier(before) == identifier(wanted), "identifier"),
        (is_same_text(security(before).as_deref(), security(wanted).as_deref(), "Standard"), "features.SecurityType"),
    ];
    checks.into_iter().find(|(is_same, _)| !is_same).map(|(_, name)| name)
}

fn check_version(
    request: &PutRequest,
    version: &GalleryVersionProperties,
    before: Option<&GalleryVersionProperties>,
) -> PortResult<()> {
    let (id, home) = (&request.id, &request.body.region);
    if id.name.own().parse::<VersionNumber>().is_err() {
        let message = format!("{id}: the name of a version is three numbers with dots between them");
        return Err(invalid("invalid-parameter", message));
    }
    if version.storage_profile.is_none() {
        return Err(invalid("required-parameter-missing", format!("{id}: storageProfile is missing")));
    }
    if version.region(home).is_none() {
        let message = format!("{id}: its own region {home} is not one of its target regions");
        return Err(invalid("invalid-parameter", message));
    }
    let counts = version.regions().iter().map(|region| region.regional_replica_count.unwrap_or(1));
    if counts.sum::<u32>() > MAX_REPLICAS {
        return Err(invalid("invalid-parameter", format!("{id}: it has more than {MAX_REPLICAS} replicas")));
    }
    let Some(before) = before else { return Ok(()) };
    let may_remove =
        version.safety_profile.as_ref().and_then(|safety| safety.allow_deletion_of_replicated_locations) != Some(false);
    for region in before.regions() {
        let kept = version.regions().iter().find(|kept| region_named(&kept.name) == region_named(&region.name));
        match kept {
            None if !may_remove => {
                let message = format!("{id}: its safety profile does not permit to remove region {}", region.name);
                return Err(refused(ErrorKind::Conflict, "region-removal-not-allowed", message));
            }
            Some(kept)
                if kept.storage_account_type.is_some() && kept.storage_account_type != region.storage_account_type =>
            {
                let message = format!("{id}: changing property 'storageAccountType' is not allowed");
                return Err(invalid("property-change-not-allowed", message));
            }
            _ => {}
        }
    }
    Ok(())
}

fn invalid(code: &str, message: String) -> PortError {
    refused(ErrorKind::Invalid, code, message)
}

/// The gallery version from which the disk of a request is created, and the LUN of its data disk. None for other
/// requests.
///
/// # Errors
/// `Invalid` if the id of the version is not valid.
pub fn version_of(request: &PutRequest) -> PortResult<Option<(VersionRef, Option<u8>)>> {
    let Some(disk) = request.body.properties.disk() else { return Ok(None) };
    if disk.creation_data.create_option != CreateOption::FromImage {
        return Ok(None);
    }
    match disk.creation_data.gallery_image_reference.as_ref().and_then(VersionRef::of_source) {
        Some(found) => Ok(Some(found)),
        None => Err(invalid(
            "create-option-unsupported",
            format!("{}: this cloud creates disks FromImage from gallery versions only", request.id),
        )),
    }
}

/// Whether a gallery is shared under the name by which others refer to its versions. The unique name of a gallery has
/// its subscription and its name. A public name has the prefix that the owner chose, and here the subscription. Source:
/// Azure, share-gallery-direct and share-gallery-community; the part behind the prefix is another UUID there.
#[must_use]
pub fn is_shared_as(gallery: &Resource, wanted: &SharedVersion) -> bool {
    let Properties::Gallery(properties) = &gallery.body.properties else { return false };
    let sharing = properties.other.get("sharingProfile");
    let text = |pointer: &str| sharing.and_then(|sharing| sharing.pointer(pointer)).and_then(Value::as_str);
    let subscription = gallery.id.subscription;
    let (permissions, name) = match wanted.is_community {
        true => (
            "Community",
            format!("{}-{subscription}", text("/communityGalleryInfo/publicNamePrefix").unwrap_or_default()),
        ),
        false => ("Groups", format!("{subscription}-{}", gallery.id.name)),
    };
    text("/permissions") == Some(permissions) && name.eq_ignore_ascii_case(wanted.gallery.as_str())
}

/// The id of a shared version in the gallery that is shared.
#[must_use]
pub fn shared_id(gallery: &ResourceId, shared: &SharedVersion) -> ResourceId {
    let definition = gallery.child(ResourceType::Definition, &shared.definition);
    definition.child(ResourceType::GalleryVersion, &shared.version)
}

/// The disk of a request that is created from a version. `replicas` are those of the version, if it exists, and `lun`
/// is that of a data disk of the version.
///
/// # Errors
/// `NotFound` with the code [`NOT_IN_REGION`] if the version cannot be used in the region of the disk, or if it has no
/// such disk.
pub fn disk_of_version(
    request: &PutRequest,
    (replicas, lun): (Option<&Replicas>, Option<u8>),
    identity: NewIdentity,
    now: u64,
) -> PortResult<Resource> {
    let (id, region) = (&request.id, &request.body.region);
    let Some(replicas) = replicas.filter(|replicas| replicas.is_usable(region, now)) else {
        let message = format!("{id}: its gallery version is not available in {region}");
        return Err(refused(ErrorKind::NotFound, NOT_IN_REGION, message));
    };
    let size = lun.map_or(Some(&replicas.size), |lun| replicas.data.get(&lun.into()));
    let Some(size) = size else {
        let message = format!("{id}: its gallery version has no data disk with LUN {}", lun.unwrap_or_default());
        return Err(invalid("invalid-parameter", message));
    };
    let mut body = request.body.clone();
    if let Some(disk) = body.properties.disk_mut() {
        set_new_disk(disk, *size, identity);
        if lun.is_none() {
            disk.os_type = disk.os_type.or(replicas.os);
            disk.hyper_v_generation = disk.hyper_v_generation.or(replicas.generation);
        }
    }
    Ok(Resource { id: id.clone(), provisioning: Provisioning::Succeeded, body })
}

fn set_new_disk(disk: &mut DiskProperties, size: u64, identity: NewIdentity) {
    disk.unique_id = Some(identity.unique_id);
    disk.time_created = Some(identity.created.to_string());
    disk.disk_state = Some(DiskState::Unattached);
    disk.disk_size_bytes = Some(size);
    disk.disk_size_gb = disk.disk_size_gb.or(Some(size.div_ceil(super::GIB)));
}

/// A new or changed version, in the form in which the service stores it.
#[must_use]
pub fn stored_version(request: &PutRequest, existing: Option<&Resource>, identity: &NewIdentity) -> Resource {
    let mut body = request.body.clone();
    if let Some(version) = body.properties.gallery_version_mut() {
        version.replication_status = None;
        let published = existing
            .and_then(|existing| existing.body.properties.gallery_version()?.publishing_profile.as_ref())
            .and_then(|profile| profile.other.get("publishedDate").cloned())
            .unwrap_or_else(|| json!(identity.created.to_string()));
        let profile = version.publishing_profile.get_or_insert_default();
        profile.other.insert("publishedDate".to_owned(), published);
        for region in &mut profile.target_regions {
            region.regional_replica_count = region.regional_replica_count.or(Some(1));
            region.storage_account_type.get_or_insert_with(|| "Standard_LRS".to_owned());
            region.exclude_from_latest = region.exclude_from_latest.or(Some(false));
        }
    }
    Resource { id: request.id.clone(), provisioning: Provisioning::Succeeded, body }
}

/// Whether a gallery keeps deleted versions. Source: GalleryRP 2024-03-03, `SoftDeletePolicy`.
#[must_use]
pub fn keeps_deleted(gallery: &Resource) -> bool {
    let Properties::Gallery(properties) = &gallery.body.properties else { return false };
    properties.other.get("softDeletePolicy").and_then(|policy| policy.get("isSoftDeleteEnabled")) == Some(&json!(true))
}

/// The refusal of a version whose name a soft-deleted version still has. The specification has no code for it.
#[must_use]
pub fn soft_deleted(id: &ResourceId) -> PortError {
    let message = format!("{id} was deleted, and its gallery keeps it");
    refused(ErrorKind::Conflict, "version-soft-deleted", message)
}

/// Rejects the deletion of a resource that contains others.
///
/// # Errors
/// `Conflict` if it contains others.
pub fn check_empty(id: &ResourceId, has_children: bool) -> PortResult<()> {
    if !has_children {
        return Ok(());
    }
    let message = format!("{id}: a {} that contains others cannot be deleted", id.resource_type.noun());
    Err(refused(ErrorKind::Conflict, "cannot-delete-resource", message))
}
