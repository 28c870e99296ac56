//! Uploads of disks, snapshots, images, gallery versions, machines and blobs in the cloud: what happens before and
//! after the upload.
//!
//! The properties of the resource are checked first. For an attached disk, a temporary snapshot is created. Then the
//! upload reads the content by a SAS in the same way as a file. When the upload ends, with or without success, the
//! access is ended and all temporaries are deleted.

mod earlier;
mod machine;
pub(crate) mod temporary;
mod version;

use std::sync::Arc;
use std::time::Duration;

use goldfleet_disk::DiskError;
use goldfleet_model::ids::{ImageName, ImageVersion, JobId};
use goldfleet_model::manifest::OsType;
use goldfleet_model::origin::Origin;
use goldfleet_model::resource::ResourceId;
use goldfleet_model::store::BlobAddress;
use goldfleet_model::upload::{Upload, UploadState};
use goldfleet_ports::Ports;
use goldfleet_ports::error::{ErrorKind, PortError, PortResult};
use goldfleet_ports::retry::retry_transient;
use goldfleet_ports::rng;
use goldfleet_sources::cloud_disk::{ContentAccess, DiskFacts};
use goldfleet_sources::{ArtifactSource, CloudBlob, CloudDisk, Refusal, Requests, SourceError, SourceLocation, codes};
use tokio_util::sync::CancellationToken;

use self::temporary::Temporary;
use super::{ByteRate, UploadError, UploadRequest, UploadResult, upload_as};
use crate::control::check::ImageChecks;
use crate::control::context::{ControlContext, ScanThreads};
use crate::control::versions::{VersionSource, find};

/// How long ending the access and deleting the temporary may take. An operator who interrupts the command waits for it.
const MAX_CLEANUP: Duration = Duration::from_secs(120);

/// What to upload from the cloud, and as which version.
#[derive(Debug, Clone)]
pub struct CloudUploadRequest {
    /// The source.
    pub from: SourceLocation,
    /// The image's name.
    pub image: ImageName,
    /// The version.
    pub version: ImageVersion,
    /// The operating system, if the source does not state it.
    pub os: Option<OsType>,
    /// How to open and check the image.
    pub check: ImageChecks,
    /// The maximum rate. None if it is not limited.
    pub limit: Option<ByteRate>,
}

impl From<SourceError> for UploadError {
    fn from(error: SourceError) -> Self {
        match error {
            SourceError::Refused(refusal) => refusal.into(),
            SourceError::Port(error) => Self::Port(error),
        }
    }
}

impl From<Refusal> for UploadError {
    fn from(refusal: Refusal) -> Self {
        Self::Source(Box::new(refusal))
    }
}

/// Uploads the disk of a source in the cloud. `watch` is called whenever the counts change.
///
/// # Errors
/// [`UploadError`].
pub async fn upload_from(
    control: &ControlContext,
    request: &CloudUploadRequest,
    watch: &(dyn Fn(&Upload) + Sync),
    stop: &CancellationToken,
) -> Result<UploadResult, UploadError> {
    if let ScanThreads::Sender = control.readers {
        let message = "a source in the cloud is read by separate threads, and this process has none";
        return Err(PortError::new(ErrorKind::Invalid, message).into());
    }
    let id = JobId::new(control.ports.clock.now(), rng::random_u64());
    let mut session = Session {
        control,
        request,
        id,
        requests: Requests::new(stop.clone()),
        stop,
        accesses: Vec::new(),
        temporaries: Vec::new(),
    };
    let ended = session.run(watch).await;
    session.close().await;
    ended
}

/// An upload from the cloud, and its access and temporaries that must be removed at its end.
struct Session<'a> {
    control: &'a ControlContext,
    request: &'a CloudUploadRequest,
    /// The id of the upload. It is the job in the tags of the temporary.
    id: JobId,
    requests: Requests,
    stop: &'a CancellationToken,
    accesses: Vec<Arc<ContentAccess>>,
    temporaries: Vec<Temporary>,
}

impl Session<'_> {
    async fn run(&mut self, watch: &(dyn Fn(&Upload) + Sync)) -> Result<UploadResult, UploadError> {
        // Requests are not dropped: one that takes effect later would leave a snapshot or a SAS behind.
        let opened = self.open().await?;
        if self.stop.is_cancelled() {
            return Err(UploadError::Interrupted);
        }
        let ended = upload_as(self.control, (&opened, self.id.clone()), watch, self.stop).await;
        match ended {
            Err(UploadError::Disk(DiskError::Cancelled)) => Err(UploadError::Interrupted),
            // The disk error and the report have only the text of the service's error.
            Err(UploadError::Disk(error)) => Err(self.requests.take_failure().map_or(error.into(), UploadError::Port)),
            Err(UploadError::Refused(report)) => {
                Err(self.requests.take_failure().map_or(UploadError::Refused(report), UploadError::Port))
            }
            ended => ended,
        }
    }

    /// Checks the source, and opens its content.
    async fn open(&mut self) -> Result<UploadRequest, UploadError> {
        match &self.request.from {
            SourceLocation::Blob(blob) => self.open_blob(blob.clone()).await,
            SourceLocation::Disk(id) | SourceLocation::Snapshot(id) => self.open_disk(id).await,
            SourceLocation::Machine(id) => self.open_machine(id).await,
            SourceLocation::Image(id) => self.open_version(&VersionSource::Image(id.clone())).await,
            SourceLocation::Gallery(version) => self.open_version(&VersionSource::Version(version.clone())).await,
        }
    }

    async fn open_blob(&self, blob: BlobAddress) -> Result<UploadRequest, UploadError> {
        let location = self.request.from.to_string();
        let Some(os) = self.request.os else {
            let reason = "a blob states no operating system";
            return Err(Refusal::new(&codes::OS_UNKNOWN, location, reason).into());
        };
        let ports = &self.control.ports;
        let ports = (Arc::clone(&ports.blobs), Arc::clone(&ports.clock));
        let source = CloudBlob::open(&location, blob, ports, self.requests.clone()).await?;
        Ok(self.upload_request(Arc::new(source), os))
    }

    async fn open_disk(&mut self, id: &ResourceId) -> Result<UploadRequest, UploadError> {
        let location = self.request.from.to_string();
        let missing =
            || Refusal::new(&codes::SOURCE_NOT_FOUND, &location, format!("there is no {}", id.resource_type.noun()));
        let found = find(&self.control.ports, id).await?.ok_or_else(missing)?;
        let named = DiskFacts::of(&location, &found)?;
        let (os, generation) = named.system(self.request.os, self.request.check.disk.generation)?;
        let mut origin = named.origin();
        let facts = if named.is_attached {
            tracing::info!(source = %location, "a machine has the disk: a temporary snapshot of it is read");
            temporary::remove_abandoned(self.control, &found).await;
            let temporary = Temporary::of(&self.control.ports, &found, &self.id).await?;
            origin.add_temporary(temporary.id.clone());
            self.record(&origin).await?;
            self.temporaries.push(temporary.clone());
            let facts = temporary.create(self.control, &location, &found, self.stop).await?;
            origin.family_id.clone_from(&facts.family_id);
            facts
        } else {
            named
        };
        let source = self.content(facts, origin).await?;
        let mut upload = self.upload_request(Arc::new(source), os);
        upload.check.disk.generation = generation;
        Ok(upload)
    }

    /// Opens the content of a disk or snapshot.
    async fn content(&mut self, facts: DiskFacts, origin: Origin) -> Result<CloudDisk, UploadError> {
        if facts.has_access {
            tracing::warn!(
                source = %origin.source,
                "another program has access to the content: it loses that access when this upload ends"
            );
        }
        let ports = &self.control.ports;
        let access = ContentAccess::new(Arc::clone(&ports.disk_access), Arc::clone(&ports.clock), facts.id.clone());
        let access = Arc::new(access);
        self.accesses.push(Arc::clone(&access));
        let ports = (Arc::clone(&ports.resources), Arc::clone(&ports.clock));
        let disk = CloudDisk::open(facts.clone(), origin, ports, Arc::clone(&access), self.requests.clone()).await?;
        Ok(self.with_earlier(disk, &facts, &access).await)
    }

    fn upload_request(&self, source: Arc<dyn ArtifactSource>, os: OsType) -> UploadRequest {
        let CloudUploadRequest { image, version, check, limit, .. } = self.request.clone();
        UploadRequest { source, image, version, os, check, limit }
    }

    /// Writes the row of the upload before the temporary is created, so that the row of a killed upload names it.
    async fn record(&self, origin: &Origin) -> PortResult<()> {
        let CloudUploadRequest { image, version, .. } = self.request;
        let row = Upload {
            by: Some(self.control.jobs.actor.clone()),
            file: Some(origin.source.clone()),
            resume: self.control.command.clone(),
            origin: Some(origin.clone()),
            ..Upload::new(self.id.clone(), image.clone(), version.clone(), self.control.ports.clock.now())
        };
        retried(&self.control.ports, || self.control.ports.table.put_upload(&row)).await
    }

    /// Ends the access and deletes the temporary. An error is logged: the upload has ended in any case.
    async fn close(self) {
        let clock = &self.control.ports.clock;
        let cleanup = async {
            for access in &self.accesses {
                if let Err(error) = access.end().await {
                    tracing::warn!(%error, "the access to the source could not be ended: it ends by itself within an hour");
                }
            }
            // A gallery is deleted after its contents.
            for temporary in self.temporaries.iter().rev() {
                if let Err(error) = temporary.remove(self.control).await {
                    tracing::warn!(
                        temporary = %temporary.id, %error,
                        "the temporary could not be deleted: 'goldfleet cleanup --orphans --yes' deletes it after a day"
                    );
                }
            }
            if self.temporaries.is_empty() {
                return;
            }
            if let Err(error) = self.close_row().await {
                tracing::warn!(%error, "the upload's row could not be written");
            }
        };
        tokio::select! {
            () = cleanup => {}
            () = clock.sleep(MAX_CLEANUP) => {
                tracing::warn!("the service takes too long to end the access to the source: it ends by itself within an hour");
            }
        }
    }

    /// Ends the row of an upload that failed before it wrote its row itself.
    async fn close_row(&self) -> PortResult<()> {
        let table = &self.control.ports.table;
        let Some(row) = retried(&self.control.ports, || table.upload(&self.id)).await? else { return Ok(()) };
        if row.state != UploadState::Running {
            return Ok(());
        }
        let row = Upload { state: UploadState::Failed, updated: self.control.ports.clock.now(), ..row };
        retried(&self.control.ports, || table.put_upload(&row)).await
    }
}

async fn retried<T, F>(ports: &Ports, request: impl FnMut() -> F) -> PortResult<T>
where
    F: Future<Output = PortResult<T>>,
{
    retry_transient(ports.clock.as_ref(), PortError::is_retryable, request).await
}
