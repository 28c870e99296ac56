//! The kind `image`: creates the managed image of a target from its VHDs, or from snapshots.

use async_trait::async_trait;
use goldfleet_model::artifact::DiskRef;
use goldfleet_model::document::Document;
use goldfleet_model::ids::{ManagedImageName, Region};
use goldfleet_model::image::{ImageRef, ImageTags};
use goldfleet_model::manifest::{Generation, OsType};
use goldfleet_model::message::QueueName;
use goldfleet_model::operation::Operation;
use goldfleet_model::resource::{
    DataSnapshot, ImageDataDisk, ImageProperties, Properties, ResourceBody, ResourceId, tag,
};
use goldfleet_model::target::Target;
use goldfleet_ports::Ports;
use goldfleet_ports::error::{ErrorKind, PortError, PortResult};
use goldfleet_ports::resources::{Provisioning, PutMode, PutRequest, Resource};
use goldfleet_snapshots::tags::{self, Role};
use serde::{Deserialize, Serialize};

use crate::attempt_error::AttemptError;
use crate::change::follow;
use crate::context::{Attempt, digest_of, write_spec};
use crate::kind::{Kind, Probe, TemporaryBlob, Verification};
use crate::outcome::{StepError, StepOutcome};
use crate::snapshot::TEMPORARY_MISSING;

/// The kind `image`.
pub struct Image;

/// The specification of an `image` operation. The row names the target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageSpec {
    /// The name of the managed image.
    pub name: ManagedImageName,
    /// The operating system on the disk.
    pub os: OsType,
    /// The Hyper-V generation of the disk.
    pub generation: Generation,
    /// From what it is created.
    #[serde(flatten)]
    pub from: ImageOrigin,
}

/// From what a managed image is created.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ImageOrigin {
    /// The VHDs of these disks at the target.
    Vhds(VhdDisks),
    /// Snapshots.
    Snapshot(SnapshotDisks),
}

/// The disks of a managed image that is created from snapshots.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotDisks {
    /// The snapshot of the OS disk.
    pub snapshot: ResourceId,
    /// The snapshots of the data disks, by LUN.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub data: Vec<DataSnapshot>,
}

impl SnapshotDisks {
    /// All snapshots: that of the OS disk first.
    fn all(&self) -> impl Iterator<Item = &ResourceId> {
        std::iter::once(&self.snapshot).chain(self.data.iter().map(|data| &data.snapshot))
    }
}

/// The disks of a managed image that is created from VHDs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VhdDisks {
    /// The OS disk.
    #[serde(flatten)]
    pub os: DiskRef,
    /// The data disks, by LUN.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub data: Vec<DiskRef>,
}

impl VhdDisks {
    /// All disks: the OS disk first, then the data disks.
    fn all(&self) -> impl Iterator<Item = &DiskRef> {
        std::iter::once(&self.os).chain(&self.data)
    }
}

impl ImageSpec {
    /// The newest version of the specification. A program that reads only an earlier version would create the image
    /// without its data disks: version 2 has those of VHDs, version 3 those of snapshots.
    const VERSION: u16 = 3;

    /// The specification in the form of a row.
    #[must_use]
    pub fn to_document(&self) -> Document {
        let spec = write_spec(self);
        match &self.from {
            ImageOrigin::Vhds(disks) if !disks.data.is_empty() => Document { v: 2, ..spec },
            ImageOrigin::Snapshot(disks) if !disks.data.is_empty() => Document { v: Self::VERSION, ..spec },
            _ => spec,
        }
    }

    /// The specification of a row.
    fn of(operation: &Operation) -> Result<Self, AttemptError> {
        operation.spec.read(operation.spec.v.clamp(1, Self::VERSION)).map_err(|error| {
            AttemptError::fatal("row-damaged", format!("the specification of operation {}: {error}", operation.id))
        })
    }
}

/// What must exist before a managed image is created from it.
enum Origin {
    Vhds(Vec<TemporaryBlob>),
    Snapshots(Vec<ResourceId>),
}

impl Image {
    /// The managed image that an operation creates.
    fn image(operation: &Operation) -> Option<(&Target, &ImageRef, ResourceId)> {
        let (target, image) = (operation.target()?, operation.image.as_ref()?);
        let spec = ImageSpec::of(operation).ok()?;
        Some((target, image, target.image(spec.name)))
    }
}

#[async_trait]
impl Kind for Image {
    fn id(&self) -> &'static str {
        "image"
    }

    fn spec_version(&self) -> u16 {
        ImageSpec::VERSION
    }

    fn queue(&self) -> QueueName {
        QueueName::Image
    }

    fn title(&self) -> &'static str {
        "Images made"
    }

    fn produces(&self, operation: &Operation) -> Option<String> {
        Some(ImageSpec::of(operation).ok()?.name.to_string())
    }

    fn delivers(&self) -> bool {
        true
    }

    fn lacks_input(&self, code: &str) -> bool {
        matches!(code, "vhd-not-found" | "vhd-invalid" | TEMPORARY_MISSING)
    }

    fn verification(&self, _ports: &Ports, operation: &Operation) -> Verification {
        match Self::image(operation) {
            Some((target, _, id)) => {
                Verification::Image { id, region: target.region.clone(), tenant: target.tenant.clone() }
            }
            None => Verification::Probe,
        }
    }

    async fn probe(&self, ports: &Ports, operation: &Operation) -> PortResult<Probe> {
        let Some((target, wanted, id)) = Self::image(operation) else { return Ok(Probe::Foreign) };
        let found = ports.resources.get(&id, target.tenant.as_deref()).await?;
        Ok(match found.map(|image| classify(&image, wanted, &id, &target.region)) {
            None => Probe::Absent,
            Some(Err(_)) => Probe::Foreign,
            Some(Ok(ExistingImage::UpToDate)) => Probe::Done,
            Some(Ok(ExistingImage::Stale)) => Probe::Stale,
            Some(Ok(_)) => Probe::Underway,
        })
    }

    async fn run(&self, attempt: Attempt<'_>) -> Result<StepOutcome, StepError> {
        let Attempt { shared, operation, .. } = attempt;
        let ImageSpec { name, os, generation, from } = ImageSpec::of(operation)?;
        let target = attempt.target()?;
        let image = attempt.image()?;
        let storage = shared.settings.storage_type;
        let (origin, properties) = match from {
            ImageOrigin::Snapshot(disks) => {
                let caching = shared.settings.data_disk_caching;
                let data = disks.data.iter();
                let data = data.map(|data| ImageDataDisk::of_snapshot(data.lun.into(), &data.snapshot, caching));
                let properties =
                    ImageProperties::of_snapshot(&disks.snapshot, os, generation, storage).with_data_disks(data);
                (Origin::Snapshots(disks.all().cloned().collect()), properties)
            }
            ImageOrigin::Vhds(disks) => {
                let vhd = |disk: &DiskRef| shared.ports.vhd(target, image, disk.role);
                let url = |disk: &DiskRef| shared.ports.resources.blob_url(&vhd(disk));
                let data = disks.data.iter().filter_map(|disk| {
                    let lun = disk.role.lun()?.into();
                    Some(ImageDataDisk::of_vhd(lun, url(disk), shared.settings.data_disk_caching))
                });
                let properties = ImageProperties::of_vhd(url(&disks.os), os, generation, storage).with_data_disks(data);
                let vhds = disks.all().map(|disk| TemporaryBlob { blob: vhd(disk), disk: *disk }).collect();
                (Origin::Vhds(vhds), properties)
            }
        };
        let properties = properties.with_encryption_set(target.disk_encryption_set.as_deref());
        let mut tags = shared.settings.image_tags.clone();
        tags.extend(ImageTags { image: image.clone(), job: operation.job.clone() }.to_map());
        let body = ResourceBody::new(target.region.clone(), Properties::Image(properties)).with_tags(tags);
        let request =
            PutRequest { id: target.image(name), tenant: target.tenant.clone(), mode: PutMode::CreateOrUpdate, body };
        create(attempt, &request, &origin).await
    }
}

/// Creates a managed image, or updates the existing one to match the specification.
async fn create(attempt: Attempt<'_>, request: &PutRequest, origin: &Origin) -> Result<StepOutcome, StepError> {
    let Attempt { shared, lease, .. } = attempt;
    let resources = shared.ports.resources.as_ref();
    let stale = match inspect(attempt, request).await? {
        ExistingImage::UpToDate => return Ok(StepOutcome::Done),
        ExistingImage::InProgress => return Ok(StepOutcome::RequeueAfter(shared.settings.heartbeat)),
        // The snapshot of a failed image may belong to another job, and the source of an image cannot be changed.
        ExistingImage::Failed => matches!(origin, Origin::Snapshots(_)),
        standing => standing == ExistingImage::Stale,
    };
    match origin {
        Origin::Vhds(vhds) => {
            for vhd in vhds {
                check_vhd(attempt, vhd).await?;
            }
        }
        Origin::Snapshots(ids) => {
            for id in ids {
                check_snapshot(attempt, id).await?;
            }
        }
    }
    if stale {
        // The disk of an image cannot be replaced, so the old image is deleted first.
        lease.ensure_held()?;
        tracing::info!(image = %request.id, "an image of other content, or one that failed, is replaced");
        let removal = resources.delete(&request.id, request.tenant.as_deref()).await?;
        follow(attempt, removal).await??;
    }
    lease.ensure_held()?;
    let underway = match resources.put(request).await {
        // After the inspection, the name was taken by an image of another VHD. Another inspection identifies it.
        Err(error) if error.code == "property-change-not-allowed" => {
            inspect(attempt, request).await?;
            return Err(error.into());
        }
        underway => underway?,
    };
    follow(attempt, underway).await??;
    verify_created(attempt, request).await
}

/// Verifies that the existing image is the requested one: another job may have requested an image with the same name.
async fn verify_created(attempt: Attempt<'_>, request: &PutRequest) -> Result<StepOutcome, StepError> {
    let id = &request.id;
    let failed = |kind, code, why| Err(PortError::new(kind, format!("{id}: {why}")).with_code(code).into());
    match inspect(attempt, request).await? {
        ExistingImage::UpToDate => Ok(StepOutcome::Done),
        ExistingImage::InProgress => Ok(StepOutcome::RequeueAfter(attempt.shared.settings.heartbeat)),
        ExistingImage::Absent => {
            failed(ErrorKind::Unavailable, "image-vanished", "the image does not exist, although it was just created")
        }
        ExistingImage::Failed => {
            failed(ErrorKind::Unavailable, "image-failed", "it is shown as failed, and was just made")
        }
        ExistingImage::Stale => failed(ErrorKind::Conflict, "conflict", "it was replaced by one of other content"),
    }
}

/// Rejects a VHD that is missing, or that has other content than the job's.
async fn check_vhd(attempt: Attempt<'_>, TemporaryBlob { blob: vhd, disk }: &TemporaryBlob) -> Result<(), StepError> {
    let Some(found) = attempt.blobs().properties(vhd).await? else {
        return Err(PortError::new(ErrorKind::NotFound, format!("there is no VHD {vhd}"))
            .with_code("vhd-not-found")
            .into());
    };
    if digest_of(vhd, &found)? == disk.manifest.to_string() {
        return Ok(());
    }
    let wanted = attempt.image()?;
    let message = format!("{vhd} does not have the content that this job is for: {wanted} was uploaded again");
    Err(AttemptError::fatal("manifest-changed", message).into())
}

/// Rejects a snapshot that is missing, or that has other content than the job's.
async fn check_snapshot(attempt: Attempt<'_>, id: &ResourceId) -> Result<(), StepError> {
    let Some(found) = attempt.shared.ports.resources.get(id, None).await? else {
        return Err(AttemptError::fatal(TEMPORARY_MISSING, format!("the snapshot {id} does not exist")).into());
    };
    let Some(role) = Role::in_tags(&found.body.tags).filter(|role| matches!(role, Role::Temporary | Role::Sink)) else {
        return Err(AttemptError::fatal("temporary-foreign", format!("{id} was not created for an image")).into());
    };
    let is_of_job = tag(&found.body.tags, tags::JOB) == Some(attempt.operation.job.as_str());
    if ImageTags::digest_in(&found.body.tags) == Some(attempt.image()?.digest) && (is_of_job || role == Role::Sink) {
        return Ok(());
    }
    let message = format!("{id} does not have the content that this job is for");
    Err(AttemptError::fatal("temporary-foreign", message).into())
}

/// The relation of an existing image with the same name to this operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ExistingImage {
    Absent,
    UpToDate,
    InProgress,
    Failed,
    Stale,
}

async fn inspect(attempt: Attempt<'_>, request: &PutRequest) -> Result<ExistingImage, StepError> {
    let found = attempt.shared.ports.resources.get(&request.id, request.tenant.as_deref()).await?;
    Ok(match found {
        None => ExistingImage::Absent,
        Some(image) => classify(&image, attempt.image()?, &request.id, &request.body.region)?,
    })
}

/// Classifies an image with the same name as the image of this operation. Names come from a template and are
/// case-insensitive, so the image may belong to another target or to another golden image. Such an image is not
/// changed: only an image with an earlier content of this version is replaced.
fn classify(
    image: &Resource,
    wanted: &ImageRef,
    id: &ResourceId,
    region: &Region,
) -> Result<ExistingImage, AttemptError> {
    let Some(digest) = ImageTags::digest_in(&image.body.tags) else {
        let message = format!("{id} exists, and goldfleet did not create it: remove or rename it");
        return Err(AttemptError::fatal("image-foreign", message));
    };
    if image.body.region != *region {
        let message = format!("{id} is in {}: an image of that name cannot be in {region} as well", image.body.region);
        return Err(AttemptError::fatal("image-region-change", message));
    }
    let version = ImageTags::version_in(&image.body.tags);
    if digest != wanted.digest && version != wanted.to_string() {
        let message = format!("{id} exists: it was created from {version}, which has the same name by [images]");
        return Err(AttemptError::fatal("image-foreign", message));
    }
    Ok(match image.provisioning {
        Provisioning::InProgress => ExistingImage::InProgress,
        _ if digest != wanted.digest => ExistingImage::Stale,
        Provisioning::Succeeded => ExistingImage::UpToDate,
        Provisioning::Failed => ExistingImage::Failed,
    })
}
