//! Which image versions are uploaded, where they come from, and what uses them.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

use futures::StreamExt as _;
use goldfleet_config::Config;
use goldfleet_model::artifact::{ARTIFACTS, ArtifactDisk, ArtifactRecord, DiskRef, DiskRole, version_of};
use goldfleet_model::hash::Digest;
use goldfleet_model::ids::{ImageName, ImageVersion, JobId};
use goldfleet_model::job::{Job, JobState};
use goldfleet_model::manifest::{MANIFESTS, ManifestName};
use goldfleet_model::store::Container;
use goldfleet_model::system::System;
use goldfleet_model::upload::{Upload, UploadState, system_of};
use goldfleet_ports::Ports;
use goldfleet_ports::blob_store::ListedBlob;
use goldfleet_ports::chunk_store::list;
use goldfleet_ports::clock::elapsed;
use goldfleet_ports::error::{ErrorKind, PortResult};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::control::artifacts::{EarlierVersion, read_optional, upload_again};
use crate::control::context::{ControlContext, ControlError, MAX_IN_FLIGHT};

/// The number of seconds without a write of its row after which an upload counts as stalled. It writes its row every 2
/// s.
const STALLED: f64 = 30.0;

/// How long an upload that did not end is listed, in hours. Its chunks are kept for a shorter time.
const LISTED_HOURS: i64 = 30 * 24;

/// An uploaded version.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ImageLine {
    /// The image.
    pub image: ImageName,
    /// The version.
    pub version: ImageVersion,
    /// The time at which its artifact record was written. From then on it can be dispatched.
    pub uploaded: Timestamp,
    /// Who uploaded it. None if the record cannot be read. The same holds for `digest`, `size` and `data_bytes`.
    pub by: Option<String>,
    /// The file or other source that it was uploaded from.
    pub file: Option<String>,
    /// The digest of the version.
    pub digest: Option<Digest>,
    /// The sum of the sizes of its disks in bytes.
    pub size: Option<u64>,
    /// Bytes of its chunks, without zero runs.
    pub data_bytes: Option<u64>,
    /// Its disks.
    pub disks: Vec<DiskLine>,
    /// The operating system that the check found on the disk. None if that is not known.
    pub system: Option<System>,
    /// The number of jobs that have dispatched it.
    pub jobs: usize,
    /// The newest of these jobs.
    pub last_job: Option<LastJob>,
    /// What still uses it.
    pub used_by: Vec<Use>,
    /// Why it cannot be dispatched.
    pub fault: Option<VersionFault>,
}

/// A disk of a version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DiskLine {
    /// The disk: `os`, or `data-` and its LUN.
    pub disk: DiskRole,
    /// The digest of its manifest.
    pub manifest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// Bytes of its chunks, without zero runs.
    pub data_bytes: u64,
}

/// Why a version cannot be dispatched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VersionFault {
    /// The code, listed in `docs/failures.md`.
    pub code: &'static str,
    /// What is wrong, and what to do.
    pub message: String,
}

/// The newest job of a version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LastJob {
    /// The job.
    pub job: JobId,
    /// Its state.
    pub state: JobState,
}

/// Something that uses a version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Use {
    /// A job that has not ended.
    OpenJob {
        /// The job.
        job: JobId,
    },
    /// Staged VHDs that remain after a job. A later version may be patched from them.
    StagedVhds {
        /// The job.
        job: JobId,
    },
}

impl std::fmt::Display for Use {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::OpenJob { job } => write!(f, "open job {job}"),
            Self::StagedVhds { job } => write!(f, "staged VHDs of job {job}"),
        }
    }
}

/// An upload that is not complete.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct UploadLine {
    /// The image.
    pub image: ImageName,
    /// The version.
    pub version: ImageVersion,
    /// Who runs it.
    pub by: Option<String>,
    /// The file.
    pub file: Option<String>,
    /// The number of bytes of the file that hold data.
    pub bytes_total: u64,
    /// The number of these bytes that were read.
    pub bytes_read: u64,
    /// The number of bytes sent.
    pub bytes_sent: u64,
    /// The time at which it began.
    pub started: Timestamp,
    /// The time at which it last wrote its row.
    pub updated: Timestamp,
    /// Seconds since then.
    pub idle: f64,
    /// Whether it has not written its row for so long that it was probably killed.
    pub stalled: bool,
    /// Whether it ended before it was complete: it was interrupted, or failed.
    pub ended: bool,
    /// Whether the chunks that it sent are still kept. Later the next clean-up of chunks may delete them.
    pub chunks_kept: bool,
    /// The command line that resumes it. None if it is not known.
    pub resume: Option<String>,
}

impl UploadLine {
    /// Whether nobody uploads the version, so that the upload waits to be resumed.
    #[must_use]
    pub fn is_interrupted(&self) -> bool {
        self.ended || self.stalled
    }
}

/// The uploaded versions by name and time, and the uploads that are not complete. Only those of one image if one is
/// given.
///
/// # Errors
/// If the source store or the table cannot be read.
pub async fn images(
    control: &ControlContext,
    only: Option<&ImageName>,
) -> Result<(Vec<ImageLine>, Vec<UploadLine>), ControlError> {
    let uploads = control.ports.table.list_uploads().await?.rows;
    let jobs: Vec<Job> = control.ports.table.list_jobs().await?.rows.into_iter().map(|row| row.value).collect();
    let found = FoundVersions::list(&control.ports, &control.config, only).await?;
    let mut lines = found.read(&control.ports, &control.config, &uploads, &jobs).await?;
    lines.sort_by(|a, b| (&a.image, a.uploaded, &a.version).cmp(&(&b.image, b.uploaded, &b.version)));
    let now = control.ports.clock.now();
    let done: BTreeMap<_, _> = lines.iter().map(|line| ((&line.image, &line.version), line.uploaded)).collect();
    let mut seen = BTreeSet::new();
    let incomplete = uploads.iter().filter(|upload| {
        // Of several runs only the newest counts.
        let is_newest = seen.insert((&upload.image, &upload.version));
        let is_over = match done.get(&(&upload.image, &upload.version)) {
            // Nothing is left to resume: the version exists, and this run failed or was killed.
            Some(at) => {
                upload.state == UploadState::Failed
                    || *at >= upload.updated
                    || elapsed(upload.updated, now) > control.config.cleanup.chunk_grace.get()
            }
            None => now.duration_since(upload.updated) > SignedDuration::from_hours(LISTED_HOURS),
        };
        let is_wanted = only.is_none_or(|only| *only == upload.image);
        upload.state != UploadState::Complete && is_newest && !is_over && is_wanted
    });
    let grace = control.config.cleanup.chunk_grace.get();
    let incomplete = incomplete.map(|upload| upload_line(upload, now, grace)).collect();
    Ok((lines, incomplete))
}

/// The versions in the source store, by the names of blobs.
#[derive(Default)]
struct FoundVersions {
    /// The artifact records, with the times at which they were written.
    records: Vec<(ImageName, ImageVersion, Timestamp)>,
    /// The versions that an earlier release uploaded.
    earlier: Vec<(EarlierVersion, Timestamp)>,
    /// The names of manifests.
    manifests: HashSet<String>,
}

impl FoundVersions {
    /// Lists the source store. Only versions of one image if one is given.
    async fn list(ports: &Ports, config: &Config, only: Option<&ImageName>) -> PortResult<Self> {
        let store = config.source.store().container();
        let is_wanted = |image: &ImageName| only.is_none_or(|only| only == image);
        let mut found = Self::default();
        // Records are listed first. The manifests of a listed record were written before it.
        for listed in list_if_exists(ports, &store, ARTIFACTS).await? {
            if let Some((image, version)) = version_of(&listed.name).filter(|(image, _)| is_wanted(image)) {
                found.records.push((image, version, listed.modified));
            }
        }
        for listed in list_if_exists(ports, &store, MANIFESTS).await? {
            match ManifestName::parse(&listed.name) {
                Some(ManifestName::Earlier(image, version)) if is_wanted(&image) => {
                    let store = store.clone();
                    found.earlier.push((EarlierVersion { image, version, store }, listed.modified));
                }
                _ => drop(found.manifests.insert(listed.name)),
            }
        }
        Ok(found)
    }

    /// Reads the artifact records, which are small.
    async fn read(
        self,
        ports: &Ports,
        config: &Config,
        uploads: &[Upload],
        jobs: &[Job],
    ) -> PortResult<Vec<ImageLine>> {
        let Self { records, earlier, manifests } = self;
        let manifests = &manifests;
        let reads = futures::stream::iter(records).map(async |(image, version, uploaded)| {
            let line = line((image, version), uploaded, jobs);
            read_record(ports, config, line, uploads, manifests).await
        });
        let read: Vec<PortResult<Option<ImageLine>>> = reads.buffer_unordered(MAX_IN_FLIGHT).collect().await;
        let mut lines: Vec<ImageLine> = read.into_iter().filter_map(Result::transpose).collect::<PortResult<_>>()?;
        for (version, uploaded) in earlier {
            let fault = Some(VersionFault { code: EarlierVersion::CODE, message: version.to_string() });
            lines.push(ImageLine { fault, ..line((version.image, version.version), uploaded, jobs) });
        }
        Ok(lines)
    }
}

/// The blobs with this prefix. None if the container does not exist, because nothing was uploaded yet.
async fn list_if_exists(ports: &Ports, store: &Container, prefix: &str) -> PortResult<Vec<ListedBlob>> {
    match list(ports.blobs.as_ref(), store, prefix).await {
        Err(error) if error.kind == ErrorKind::NotFound => Ok(Vec::new()),
        listed => listed,
    }
}

/// The entry of a version, without the facts from its artifact record.
fn line((image, version): (ImageName, ImageVersion), uploaded: Timestamp, jobs: &[Job]) -> ImageLine {
    // Jobs are sorted, the newest first.
    let own: Vec<&Job> = jobs.iter().filter(|job| job.is_for(&image, &version)).collect();
    let used_by = own.iter().filter_map(|job| match job.state {
        state if !state.is_terminal() => Some(Use::OpenJob { job: job.id.clone() }),
        _ if job.tree.is_some() && job.delivery().is_none() && !job.cleaned => {
            Some(Use::StagedVhds { job: job.id.clone() })
        }
        _ => None,
    });
    ImageLine {
        uploaded,
        by: None,
        file: None,
        digest: None,
        size: None,
        data_bytes: None,
        disks: Vec::new(),
        system: None,
        jobs: own.len(),
        last_job: own.first().map(|job| LastJob { job: job.id.clone(), state: job.state }),
        used_by: used_by.collect(),
        fault: None,
        image,
        version,
    }
}

/// Adds the facts from the artifact record of a version. None if the version was deleted since it was listed.
async fn read_record(
    ports: &Ports,
    config: &Config,
    line: ImageLine,
    uploads: &[Upload],
    manifests: &HashSet<String>,
) -> PortResult<Option<ImageLine>> {
    let store = config.source.store().container();
    let Some(bytes) = read_optional(ports, &store.artifact(&line.image, &line.version)).await? else {
        return Ok(None);
    };
    let ArtifactRecord { artifact, provenance } = match ArtifactRecord::decode(&bytes) {
        Ok(record) => record,
        Err(error) => {
            let message = error.with_remedy(&line.image, &line.version);
            return Ok(Some(ImageLine { fault: Some(VersionFault { code: error.code(), message }), ..line }));
        }
    };
    let is_missing = |disk: &&ArtifactDisk| {
        !manifests.contains(&store.manifest(&line.image, &line.version, &disk.disk.manifest).name)
    };
    let fault = artifact.disks.iter().find(is_missing).map(|disk| VersionFault {
        code: "manifest-missing",
        message: format!(
            "the manifest of disk {} is missing; {}",
            disk.disk.role,
            upload_again(&line.image, &line.version)
        ),
    });
    let digest = artifact.digest();
    Ok(Some(ImageLine {
        by: Some(provenance.by),
        file: provenance.source,
        digest: Some(digest),
        size: Some(artifact.size()),
        data_bytes: Some(artifact.data_bytes()),
        disks: artifact.disks.iter().map(DiskLine::from).collect(),
        system: provenance.system.or_else(|| system_of(uploads, &digest).cloned()),
        fault,
        ..line
    }))
}

impl From<&ArtifactDisk> for DiskLine {
    fn from(disk: &ArtifactDisk) -> Self {
        let ArtifactDisk { disk: DiskRef { role, manifest }, size, data_bytes } = *disk;
        Self { disk: role, manifest, size, data_bytes }
    }
}

#[expect(clippy::cast_precision_loss, reason = "seconds")]
fn upload_line(upload: &Upload, now: Timestamp, grace: Duration) -> UploadLine {
    let silence = elapsed(upload.updated, now);
    let idle = silence.as_secs() as f64;
    // The chunks of an upload that has ended are kept as those of nobody, from the time at which they were written.
    let began_within_grace = elapsed(upload.started, now) <= grace;
    let ended = upload.state != UploadState::Running;
    UploadLine {
        image: upload.image.clone(),
        version: upload.version.clone(),
        by: upload.by.clone(),
        file: upload.file.clone(),
        bytes_total: upload.bytes_total,
        bytes_read: upload.bytes_read,
        bytes_sent: upload.bytes_sent,
        started: upload.started,
        updated: upload.updated,
        idle,
        stalled: !ended && idle >= STALLED,
        ended,
        chunks_kept: if ended { began_within_grace } else { silence <= grace },
        resume: upload.resume.clone(),
    }
}
