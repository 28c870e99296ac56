//! Upload: from the disk of a source to chunks, a manifest and an artifact record in the source store.
//!
//! Reading, zero-scanning, hashing and sending overlap. A few threads turn windows of the disk into chunks, in reusable
//! buffers; others compute the MD5 of each run; requests send the chunks that the store lacks. The manifest is written
//! after the chunks, and the artifact record last: only then does the version exist. An upload after a killed one finds by
//! name what that one has sent, and reads back the chunks that it may have left unproven. If the version exists already,
//! chunks and the manifest are sent again if the store lacks them.

mod buffers;
pub mod from;
mod md5;
mod rate_limit;
mod record;
mod scan;
mod send;
mod version;

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use goldfleet_disk::{DiskError, DiskReader as _};
use goldfleet_model::artifact::{Artifact, ArtifactError, ArtifactRecord};
use goldfleet_model::ids::{ImageName, ImageVersion, JobId};
use goldfleet_model::image::ImageRef;
use goldfleet_model::manifest::{ChunkEntry, ChunkHash, Digest, Generation, Manifest, OsType};
use goldfleet_model::upload::Upload;
use goldfleet_ports::error::{PortError, PortResult};
use goldfleet_ports::rng;
use goldfleet_sources::{ArtifactSource, Refusal, Revision};
use tokio_util::sync::CancellationToken;

use crate::control::artifacts::EarlierVersion;
use crate::control::check::{CheckedImage, ImageChecks, ImageReport, check_image};
use crate::control::context::{ControlContext, ScanThreads};

use self::md5::Md5s;
use self::record::UploadRecord;
use self::scan::ScannedDisk;
use self::send::{ChunkSelection, SendResult};
use self::version::ExistingVersion;
pub use rate_limit::ByteRate;

/// The target of this module's log lines. Commands that run workers log warnings of this target and errors of all others.
pub(crate) const LOG_TARGET: &str = module_path!();

/// What to upload, and as which version.
#[derive(Debug, Clone)]
pub struct UploadRequest {
    /// The source of the disk.
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
    /// The file is not an image that can become an OS disk; nothing was sent.
    #[error("{} cannot be used as an OS disk", .0.disk.file.display())]
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
    /// The source has disks that a version cannot have.
    #[error("{} has {count} data disks: a version has one disk, so use a source with an OS disk only", .location.display())]
    DataDisks {
        /// The location of the source.
        location: PathBuf,
        /// The number of data disks.
        count: usize,
    },
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

/// Uploads the disk of a source. `watch` is called whenever the counts change.
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
    if data_disks > 0 {
        return Err(UploadError::DataDisks { location: source.location().to_owned(), count: data_disks });
    }
    let (Some(generation), Some(disk), true) = (report.disk.generation, disk, report.is_usable()) else {
        return Err(UploadError::Refused(Box::new(report)));
    };
    let readers = match control.readers {
        ScanThreads::Threads => source.readers().unwrap_or_else(|| control.readers.count()),
        ScanThreads::Sender => control.readers.count(),
    };
    let (before, disk) = (before?, ScannedDisk { disk: Arc::new(disk), readers });
    let container = control.config.source.store().container();
    control.ports.blobs.ensure_container(&container).await?;
    version::refuse_earlier_store(control, &container).await?;
    let there = ExistingVersion::read(control, request).await?;

    let record = UploadRecord::new(control, (request, id), disk.disk.size(), report.system.as_ref(), watch);
    let md5s = Md5s::new(control.readers);
    let uploading =
        UploadRun { control, request, generation, before: before.clone(), disk, record: &record, md5s, stop };
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

/// Opens and checks the image. This may read a compressed image to its end, so it runs on a blocking thread if the runtime
/// has them.
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

/// The maximum number of passes over a disk. A pass is repeated if the row of the upload was so old that a garbage collection
/// may have taken the upload for ended. That is rare, and a machine to which it happens this often would fail again.
const MAX_PASSES: usize = 5;

/// An upload in progress.
struct UploadRun<'a> {
    control: &'a ControlContext,
    request: &'a UploadRequest,
    generation: Generation,
    /// The revision of the source when it was opened.
    before: Revision,
    disk: ScannedDisk,
    record: &'a UploadRecord<'a>,
    md5s: Md5s,
    stop: &'a CancellationToken,
}

/// An upload of a version that exists now.
struct FinishedUpload {
    digest: Digest,
    repaired: usize,
}

impl UploadRun<'_> {
    /// Uploads a version that does not exist.
    async fn upload_new(&self) -> Result<FinishedUpload, UploadError> {
        let here = self.manifest(self.ensure_chunks().await?.chunks).await?;
        self.ensure_manifest(&here).await?;
        let artifact = self.artifact(&here);
        let record = ArtifactRecord { artifact, provenance: self.record.provenance() };
        let digest = record.artifact.digest();
        if let Some(there) = version::write_record(self.control, self.request, &record).await? {
            return Err(self.other_content(&there, &here));
        }
        // If the process was suspended before the write, the record may name what was collected in the meantime.
        if self.record.has_expired() {
            self.ensure_chunks().await?;
            self.ensure_manifest(&here).await?;
        }
        Ok(FinishedUpload { digest, repaired: 0 })
    }

    /// Compares the content with the existing version, and sends the chunks and the manifest of it that the store lacks.
    async fn repair_existing(&self, there: &ExistingVersion) -> Result<FinishedUpload, UploadError> {
        let SendResult { chunks, put } = match &there.manifest {
            Some(manifest) => {
                let named: HashSet<ChunkHash> = manifest.chunks.iter().map(|entry| entry.hash).collect();
                self.record.renew().await?;
                self.scan_and_send(ChunkSelection::Listed(&named)).await?
            }
            // Which chunks the version has is not known. Those of other content are collected later.
            None => self.ensure_chunks().await?,
        };
        let here = self.manifest(chunks).await?;
        let digest = self.artifact(&here).digest();
        if there.digest != digest {
            return Err(self.other_content(there, &here));
        }
        if there.manifest.is_none() {
            self.ensure_manifest(&here).await?;
        }
        self.record.inherit_system(&digest).await?;
        Ok(FinishedUpload { digest, repaired: put })
    }

    /// Ensures that the store has every chunk of the disk and keeps it until the record exists.
    async fn ensure_chunks(&self) -> Result<SendResult, UploadError> {
        for _ in 0..MAX_PASSES {
            self.record.renew().await?;
            let sent = self.scan_and_send(ChunkSelection::All).await?;
            if !self.record.has_expired() {
                return Ok(sent);
            }
            tracing::warn!(
                "the upload's row was not renewed in time: chunks may have been deleted, so all are checked again"
            );
        }
        Err(UploadError::Expired)
    }

    async fn ensure_manifest(&self, manifest: &Manifest) -> PortResult<()> {
        version::ensure_manifest(self.control, (&self.request.image, &self.request.version), manifest).await?;
        Ok(())
    }

    async fn scan_and_send(&self, wanted: ChunkSelection<'_>) -> Result<SendResult, UploadError> {
        send::chunks(self.control, &self.disk, wanted, self.request.limit, self.record, &self.md5s, self.stop).await
    }

    /// The manifest of these chunks. An error if the source has changed.
    async fn manifest(&self, chunks: Vec<ChunkEntry>) -> Result<Manifest, UploadError> {
        let source = &self.request.source;
        if revision(self.control, source).await? != self.before {
            return Err(UploadError::Changed(source.location().to_owned()));
        }
        let disk = &self.disk.disk;
        Ok(Manifest { size: disk.size(), footer: disk.footer(), chunks })
    }

    fn artifact(&self, manifest: &Manifest) -> Artifact {
        Artifact::of_os_disk(self.request.os, self.generation, manifest)
    }

    fn other_content(&self, there: &ExistingVersion, here: &Manifest) -> UploadError {
        let artifact = self.artifact(here);
        let mut differences = artifact.differences(&there.artifact);
        differences.extend(there.manifest.iter().flat_map(|manifest| here.differences(manifest)));
        UploadError::OtherContent(Box::new(OtherContent {
            image: self.request.image.clone(),
            version: self.request.version.clone(),
            there: there.digest,
            here: artifact.digest(),
            differences: differences.join(", "),
        }))
    }
}
