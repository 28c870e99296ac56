//! Upload: from the disks of a source to chunks, manifests and an artifact record in the source store.
//!
//! Reading, zero-scanning, hashing and sending overlap. A few threads turn windows of the disk into chunks, in reusable
//! buffers; others compute the MD5 of each run; requests send the chunks that the store lacks. The manifests are
//! written after the chunks, and the artifact record last: only then does the version exist. An upload after a killed
//! one finds the chunks that the killed one has sent by their names, and reads back those that may be unproven. If the
//! version exists already, chunks and manifests are sent again if the store lacks them.

mod buffers;
pub mod from;
mod md5;
mod rate_limit;
mod record;
mod run;
mod scan;
mod send;
mod version;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use goldfleet_disk::{AzureDisk, DiskError, DiskReader as _};
use goldfleet_model::artifact::{ArtifactError, DiskRole};
use goldfleet_model::ids::{ImageName, ImageVersion, JobId};
use goldfleet_model::image::ImageRef;
use goldfleet_model::manifest::{Digest, OsType};
use goldfleet_model::upload::Upload;
use goldfleet_ports::error::PortError;
use goldfleet_ports::rng;
use goldfleet_sources::{ArtifactSource, Refusal, Revision};
use tokio_util::sync::CancellationToken;

use crate::control::artifacts::EarlierVersion;
use crate::control::check::{CheckedImage, ImageChecks, ImageReport, check_image};
use crate::control::context::{ControlContext, ScanThreads};

use self::md5::Md5s;
use self::record::UploadRecord;
use self::run::{UploadRun, UploadedDisk};
use self::scan::ScannedDisk;
use self::version::ExistingVersion;
pub use rate_limit::ByteRate;

/// The target of this module's log lines. Commands that run workers log warnings of this target and errors of all
/// others.
pub(crate) const LOG_TARGET: &str = module_path!();

/// What to upload, and as which version.
#[derive(Debug, Clone)]
pub struct UploadRequest {
    /// The source of the disks.
    pub source: Arc<dyn ArtifactSource>,
    /// The image's name.
    pub image: ImageName,
    /// The version.
    pub version: ImageVersion,
    /// The operating system on the disk.
    pub os: OsType,
    /// How to open and check the image.
    pub check: ImageChecks,
    /// The maximum rate. None if it is not limited.
    pub limit: Option<ByteRate>,
}

/// The result of an upload.
#[derive(Debug, Clone)]
pub struct UploadResult {
    /// The image version, with its digest.
    pub image: ImageRef,
    /// Whether the source store had this version with the same content before.
    pub existed: bool,
    /// The number of chunks of that version that were missing in the store or had a wrong length, and were sent again.
    pub repaired: usize,
    /// The counts of the upload.
    pub counts: Upload,
    /// The report of the check, with every change that was made to the disk.
    pub report: ImageReport,
}

/// The version exists with other content than the file.
#[derive(Debug, thiserror::Error)]
#[error(
    "{image} {version} already exists with digest {there}, but this file has digest {here} (different: {differences}). A \
     version never changes: upload the file under a new version"
)]
pub struct OtherContent {
    /// The image.
    pub image: ImageName,
    /// The version.
    pub version: ImageVersion,
    /// The digest of the existing version.
    pub there: Digest,
    /// The digest of the file.
    pub here: Digest,
    /// The differences between the file and the existing version.
    pub differences: String,
}

/// A version exists, but its artifact record cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{image} {version} already exists, but {}", error.with_remedy(image, version))]
pub struct UnreadableVersion {
    /// The image.
    pub image: ImageName,
    /// The version.
    pub version: ImageVersion,
    /// The fault of the record.
    pub error: ArtifactError,
}

/// Why an upload ended without a version.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// A file is not an image that can become the disk; nothing was sent.
    #[error("{}", .0.refusal())]
    Refused(Box<ImageReport>),
    /// The version exists with other content. It was not changed.
    #[error(transparent)]
    OtherContent(Box<OtherContent>),
    /// The version exists, but its artifact record cannot be read. It was not changed.
    #[error(transparent)]
    Unreadable(Box<UnreadableVersion>),
    /// An earlier release uploaded a version to the store.
    #[error(transparent)]
    Earlier(Box<EarlierVersion>),
    /// The source is refused. Nothing was read.
    #[error(transparent)]
    Source(Box<Refusal>),
    /// The source cannot be read.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The source was written to while it was read.
    #[error("{} changed while it was read: upload it again when no process writes to it", .0.display())]
    Changed(PathBuf),
    /// The upload's row was too old several times, so its chunks may have been collected.
    #[error(
        "the upload could not update its row in the job table in time (was the machine suspended?), so the chunks that it sent \
         may have been deleted: run the same command again to send what is missing"
    )]
    Expired,
    /// The store or the table failed.
    #[error(transparent)]
    Port(#[from] PortError),
    /// The upload was interrupted. Chunks that were sent are not sent again by the next upload.
    #[error("interrupted")]
    Interrupted,
}

/// Uploads the disks of a source. `watch` is called whenever the counts change.
///
/// # Errors
/// [`UploadError`].
pub async fn upload(
    control: &ControlContext,
    request: &UploadRequest,
    watch: &(dyn Fn(&Upload) + Sync),
    stop: &CancellationToken,
) -> Result<UploadResult, UploadError> {
    let id = JobId::new(control.ports.clock.now(), rng::random_u64());
    upload_as(control, (request, id), watch, stop).await
}

/// As [`upload`], with the id of the upload.
async fn upload_as(
    control: &ControlContext,
    (request, id): (&UploadRequest, JobId),
    watch: &(dyn Fn(&Upload) + Sync),
    stop: &CancellationToken,
) -> Result<UploadResult, UploadError> {
    let source = request.source.as_ref();
    let before = revision(control, &request.source).await;
    let CheckedImage { report, disk, data_disks } = checked(control, request, stop).await?;
    let opened = std::iter::once((DiskRole::Os, disk)).chain(data_disks);
    let disks: Option<Vec<_>> = opened.map(|(role, disk)| Some((role, disk?))).collect();
    let (Some(generation), Some(disks), true) = (report.disk.generation, disks, report.is_usable()) else {
        return Err(UploadError::Refused(Box::new(report)));
    };
    let readers = match control.readers {
        ScanThreads::Threads => source.readers().unwrap_or_else(|| control.readers.count()),
        ScanThreads::Sender => control.readers.count(),
    };
    let before = before?;
    let scanned = |(role, disk): (DiskRole, AzureDisk)| {
        let earlier = source.earlier(role).filter(|earlier| earlier.size() == disk.size()).cloned();
        UploadedDisk { role, disk: ScannedDisk { disk: Arc::new(disk), readers, earlier } }
    };
    let disks: Vec<UploadedDisk> = disks.into_iter().map(scanned).collect();
    let size = disks.iter().map(|disk| disk.disk.disk.size()).sum();
    let container = control.config.source.store().container();
    control.ports.blobs.ensure_container(&container).await?;
    version::refuse_earlier_store(&control.ports, &container).await?;
    let there = ExistingVersion::read(&control.ports, &control.config, request).await?;

    let record = UploadRecord::new(control, (request, id), size, report.system.as_ref(), watch);
    let md5s = Md5s::new(control.readers);
    let uploading =
        UploadRun { control, request, generation, before: before.clone(), disks, record: &record, md5s, stop };
    let ended = match &there {
        Some(existing) => uploading.repair_existing(existing).await,
        None => uploading.upload_new().await,
    };
    match ended {
        Ok(ended) => {
            let image =
                ImageRef { name: request.image.clone(), version: request.version.clone(), digest: ended.digest };
            let counts = record.complete(ended.digest).await?;
            Ok(UploadResult { image, existed: there.is_some(), repaired: ended.repaired, counts, report })
        }
        Err(error) => {
            record.fail().await;
            // The read may have failed because the source was changed or removed.
            let changed = matches!(error, UploadError::Disk(_))
                && revision(control, &request.source).await.is_ok_and(|now| now != before);
            Err(if changed { UploadError::Changed(source.location().to_owned()) } else { error })
        }
    }
}

/// The revision of a source. Reading it may block.
async fn revision(control: &ControlContext, source: &Arc<dyn ArtifactSource>) -> Result<Revision, DiskError> {
    let ScanThreads::Threads = control.readers else { return source.revision() };
    let source = Arc::clone(source);
    match tokio::task::spawn_blocking(move || source.revision()).await {
        Ok(revision) => revision,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Err(DiskError::Cancelled),
    }
}

/// Opens and checks the image. This may read a compressed image to its end, so it runs on a blocking thread if the
/// runtime has them.
async fn checked(
    control: &ControlContext,
    request: &UploadRequest,
    stop: &CancellationToken,
) -> Result<CheckedImage, UploadError> {
    let mut options = ImageChecks { os: Some(request.os), ..request.check.clone() };
    let ScanThreads::Threads = control.readers else { return Ok(check_image(request.source.as_ref(), &options)) };
    let source = Arc::clone(&request.source);
    let cancel = Arc::new(AtomicBool::new(false));
    options.disk.open.cancel = Some(Arc::clone(&cancel));
    let mut checking = tokio::task::spawn_blocking(move || check_image(source.as_ref(), &options));
    let checked = tokio::select! {
        checked = &mut checking => checked,
        () = stop.cancelled() => {
            cancel.store(true, Ordering::Relaxed);
            return Err(UploadError::Interrupted);
        }
    };
    match checked {
        Ok(checked) => Ok(checked),
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Err(UploadError::Interrupted),
    }
}
