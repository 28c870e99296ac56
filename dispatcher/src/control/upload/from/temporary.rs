//! The temporaries of an upload: the snapshot of an attached disk, and the resources through which an image or gallery
//! version is read.

use std::time::Duration;

use goldfleet_model::ids::JobId;
use goldfleet_model::resource::{
    CreationData, Properties, ResourceBody, ResourceId, ResourceType, Sku, SnapshotProperties, tag,
};
use goldfleet_ports::Ports;
use goldfleet_ports::disk_access::wait_until_ended;
use goldfleet_ports::error::{ErrorKind, PortError, PortResult};
use goldfleet_ports::resource_locks::check_deletion;
use goldfleet_ports::resources::{ChangeStatus, Provisioning, PutMode, PutRequest, Resource, wait_until_done};
use goldfleet_snapshots::id::GroupRef;
use goldfleet_snapshots::remove::{Decision, TemporarySpec};
use goldfleet_snapshots::tags::{self, Role};
use goldfleet_sources::cloud_disk::DiskFacts;
use goldfleet_sources::{Refusal, codes};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::super::UploadError;
use super::{find, retried};
use crate::control::context::ControlContext;
use crate::control::orphans::has_ended;
use crate::control::tagged::{list_in_galleries, list_tagged};

/// The time between two reads of a resource that is not complete.
pub(super) const POLL: Duration = Duration::from_secs(5);

/// The number of times for which a deletion is requested while something else still uses the resource.
const DELETIONS: u32 = 20;

/// A temporary, before and after its creation.
#[derive(Clone)]
pub(super) struct Temporary {
    /// Its resource id.
    pub(super) id: ResourceId,
    spec: TemporarySpec,
}

impl Temporary {
    /// The temporary of an upload: in the group of the disk, because an incremental snapshot must be in the
    /// subscription of its disk. Source: Azure, disks-incremental-snapshots, restrictions.
    pub(super) async fn of(ports: &Ports, disk: &Resource, job: &JobId) -> Result<Self, UploadError> {
        let fleet = retried(ports, || ports.table.fleet()).await?;
        let digits = blake3::hash(format!("{fleet}:{}:{job}", disk.id.key()).as_bytes()).to_hex();
        let invalid = |error| PortError::new(ErrorKind::Invalid, format!("the name of a temporary: {error}"));
        let name = format!("gf-{}-{}", Role::Temporary.as_str(), &digits[..20]).parse().map_err(invalid)?;
        let id = ResourceId { resource_type: ResourceType::Snapshot, name, ..disk.id.clone() };
        let spec = TemporarySpec { fleet, id: id.to_string(), job: job.clone() };
        Ok(Self { id, spec })
    }

    /// A temporary with this id.
    pub(super) fn named(fleet: Uuid, id: &ResourceId, job: &JobId) -> Self {
        Self { id: id.clone(), spec: TemporarySpec { fleet, id: id.to_string(), job: job.clone() } }
    }

    /// Creates a resource through which an image or gallery version is read, and waits until the service has created
    /// it.
    ///
    /// # Errors
    /// [`codes::TEMPORARY_DENIED`] if it cannot be created or could not be deleted; or if the service cannot be reached.
    pub(super) async fn create_as(
        &self,
        control: &ControlContext,
        location: &str,
        body: &ResourceBody,
        stop: &CancellationToken,
    ) -> Result<Resource, UploadError> {
        let denied = |error: PortError| match error.kind {
            ErrorKind::Denied | ErrorKind::Locked | ErrorKind::Quota | ErrorKind::Invalid => {
                let reason = format!("{} cannot be created: {error} ({})", self.id, error.code);
                Refusal::new(&codes::TEMPORARY_DENIED, location, reason).into()
            }
            _ => UploadError::Port(error),
        };
        check_deletion(&self.id, &locks(&control.ports, &self.id).await?).map_err(denied)?;
        let request =
            PutRequest { id: self.id.clone(), tenant: None, mode: PutMode::CreateOrUpdate, body: body.clone() };
        retried(&control.ports, || put(control, &request)).await.map_err(denied)?;
        loop {
            let unavailable = |what: &str| PortError::new(ErrorKind::Unavailable, format!("{}: {what}", self.id));
            let found = find(&control.ports, &self.id).await?;
            let found = found.ok_or_else(|| unavailable("it was created, and does not exist"))?;
            match found.provisioning {
                Provisioning::Succeeded => return Ok(found),
                Provisioning::Failed => return Err(unavailable("the service could not create it").into()),
                Provisioning::InProgress => {}
            }
            tokio::select! {
                () = control.ports.clock.sleep(POLL) => {}
                () = stop.cancelled() => return Err(UploadError::Interrupted),
            }
        }
    }

    /// Creates the snapshot, and waits until its content is complete.
    ///
    /// # Errors
    /// [`codes::SNAPSHOT_DENIED`] if it cannot be created or could not be deleted; or if the service cannot be reached.
    pub(super) async fn create(
        &self,
        control: &ControlContext,
        location: &str,
        disk: &Resource,
        stop: &CancellationToken,
    ) -> Result<DiskFacts, UploadError> {
        let denied = |error: PortError| match error.kind {
            ErrorKind::Denied | ErrorKind::Locked | ErrorKind::Quota | ErrorKind::Invalid => {
                let reason =
                    format!("a machine has the disk, and no snapshot of it is possible: {error} ({})", error.code);
                Refusal::new(&codes::SNAPSHOT_DENIED, location, reason).into()
            }
            _ => UploadError::Port(error),
        };
        // With a lock, the service would refuse to delete the snapshot.
        check_deletion(&self.id, &locks(&control.ports, &self.id).await?).map_err(denied)?;
        let request = self.request(disk);
        retried(&control.ports, || put(control, &request)).await.map_err(denied)?;
        let expected = disk.body.properties.disk().and_then(|disk| disk.unique_id.as_deref());
        loop {
            let found = find(&control.ports, &self.id).await?;
            let vanished =
                || PortError::new(ErrorKind::Unavailable, format!("{} was created, and does not exist", self.id));
            let found = found.ok_or_else(vanished)?;
            let copied = found.body.properties.disk().and_then(|disk| disk.creation_data.source_unique_id.as_deref());
            if let (Some(expected), Some(copied)) = (expected, copied)
                && !copied.eq_ignore_ascii_case(expected)
            {
                return Err(UploadError::Changed(location.into()));
            }
            let is_arriving = matches!(&found.body.properties, Properties::Snapshot(snapshot)
                if !snapshot.is_complete() && snapshot.copy_completion_error.is_none());
            if found.provisioning != Provisioning::InProgress && !is_arriving {
                return Ok(DiskFacts::of(location, &found)?);
            }
            tokio::select! {
                () = control.ports.clock.sleep(POLL) => {}
                () = stop.cancelled() => return Err(UploadError::Interrupted),
            }
        }
    }

    /// An incremental snapshot stores only what differs from the previous one. It has the encryption of its disk: a
    /// family of snapshots keeps one. Source: Azure, customer-managed keys, restrictions.
    fn request(&self, disk: &Resource) -> PutRequest {
        let mut snapshot = SnapshotProperties::new(CreationData::copy(&disk.id), true);
        let properties = disk.body.properties.disk();
        snapshot.disk.encryption = properties.and_then(|disk| disk.encryption.clone());
        let source = properties.and_then(|disk| disk.unique_id.as_deref()).unwrap_or_default().to_ascii_lowercase();
        let body = ResourceBody {
            sku: Some(Sku { name: "Standard_LRS".to_owned(), ..Sku::default() }),
            ..ResourceBody::new(disk.body.region.clone(), Properties::Snapshot(snapshot))
        };
        let body = body.with_tags(tags::of_temporary(self.spec.fleet, &self.spec.job, &source));
        PutRequest { id: self.id.clone(), tenant: None, mode: PutMode::CreateOrUpdate, body }
    }

    /// Deletes the resource if it exists and is the one of this upload.
    pub(super) async fn remove(&self, control: &ControlContext) -> PortResult<()> {
        remove(control, &self.id, &self.spec).await
    }
}

/// Deletes the temporary snapshots of a disk that remain after uploads that have ended. Errors are logged:
/// `goldfleet cleanup --orphans` lists it.
pub(super) async fn remove_abandoned(control: &ControlContext, disk: &Resource) {
    if let Err(error) = try_remove_abandoned(control, disk).await {
        tracing::warn!(disk = %disk.id, %error, "the temporary snapshots of earlier uploads could not be listed");
    }
}

async fn try_remove_abandoned(control: &ControlContext, disk: &Resource) -> PortResult<()> {
    let source = disk.body.properties.disk().and_then(|disk| disk.unique_id.as_deref()).unwrap_or_default();
    remove_tagged(control, &GroupRef::from(&disk.id), &source.to_ascii_lowercase()).await
}

/// As [`remove_abandoned`], for the resources through which an image or gallery version is read. `source` is the value
/// of the tag of the source.
pub(super) async fn remove_abandoned_of(control: &ControlContext, group: &GroupRef, source: &str) {
    if let Err(error) = remove_tagged(control, group, source).await {
        tracing::warn!(%group, %error, "the temporaries of earlier uploads could not be listed");
    }
}

async fn remove_tagged(control: &ControlContext, group: &GroupRef, source: &str) -> PortResult<()> {
    let fleet = retried(&control.ports, || control.ports.table.fleet()).await?;
    let wanted = [
        (tags::FLEET, fleet.to_string()),
        (tags::ROLE, Role::Temporary.as_str().to_owned()),
        (tags::SOURCE, source.to_owned()),
    ];
    let types = [ResourceType::Disk, ResourceType::Snapshot];
    let plain = list_tagged(&control.ports, group, &types, wanted.clone()).await?;
    for found in plain.iter().chain(&list_in_galleries(&control.ports, group, wanted).await?) {
        remove_if_abandoned(control, found, fleet).await?;
    }
    Ok(())
}

/// Deletes a temporary if the row of its upload proves that the upload has ended.
async fn remove_if_abandoned(control: &ControlContext, found: &Resource, fleet: Uuid) -> PortResult<()> {
    let Some(Ok(job)) = tag(&found.body.tags, tags::JOB).map(str::parse::<JobId>) else { return Ok(()) };
    let row = retried(&control.ports, || control.ports.table.upload(&job)).await?;
    let origin = row.as_ref().and_then(|row| row.origin.as_ref());
    let is_named = origin.is_some_and(|origin| origin.temporaries().any(|id| *id == found.id));
    if !is_named || !row.as_ref().is_some_and(|row| has_ended(&control.ports, &control.config, row)) {
        return Ok(());
    }
    tracing::info!(temporary = %found.id, "the temporary of an earlier upload is deleted");
    if found.body.properties.disk().is_some() {
        end_access(&control.ports, &found.id).await?;
    }
    remove(control, &found.id, &TemporarySpec { fleet, id: found.id.to_string(), job }).await
}

/// A killed upload may have left access to the snapshot, which the service then does not delete.
pub(crate) async fn end_access(ports: &Ports, id: &ResourceId) -> PortResult<()> {
    let access = &ports.disk_access;
    let status = retried(ports, || access.end(id, None)).await?;
    wait_until_ended(access.as_ref(), ports.clock.as_ref(), status).await
}

/// Deletes a temporary if its tags prove that this upload created it, and no lock protects it.
async fn remove(control: &ControlContext, id: &ResourceId, spec: &TemporarySpec) -> PortResult<()> {
    let Some(found) = find(&control.ports, id).await? else { return Ok(()) };
    let locks = locks(&control.ports, id).await?;
    match spec.decide(Some(&found.body.tags), &locks) {
        Decision::Delete => {}
        Decision::Refuse { code, message } => {
            return Err(PortError::new(ErrorKind::Invalid, format!("{id}: {message}")).with_code(code));
        }
        Decision::Done | Decision::LiftLock(_) | Decision::Keep(_) => return Ok(()),
    }
    let delete = || {
        retried(&control.ports, || async {
            follow(&control.ports, control.ports.resources.delete(id, None).await?).await
        })
    };
    // A resource that was created from another one, or was in it, may be deleted a moment later than the service
    // reports.
    for _ in 1..DELETIONS {
        match delete().await {
            Err(error) if error.kind == ErrorKind::Conflict => control.ports.clock.sleep(POLL).await,
            ended => return ended,
        }
    }
    delete().await
}

/// The locks that apply to a resource. The service respects them also if this identity may not read them.
async fn locks(ports: &Ports, id: &ResourceId) -> PortResult<Vec<goldfleet_model::resource::Lock>> {
    match retried(ports, || ports.locks.locks(id, None)).await {
        Err(error) if error.kind == ErrorKind::Denied => Ok(Vec::new()),
        locks => locks,
    }
}

async fn put(control: &ControlContext, request: &PutRequest) -> PortResult<()> {
    follow(&control.ports, control.ports.resources.put(request).await?).await
}

/// Waits until a change ends.
async fn follow(ports: &Ports, change: ChangeStatus) -> PortResult<()> {
    wait_until_done(ports.resources.as_ref(), ports.clock.as_ref(), change).await
}
