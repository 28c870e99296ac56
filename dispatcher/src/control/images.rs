//! Which image versions are uploaded, where they come from, and what uses them.

use std::collections::{BTreeMap, BTreeSet};

use futures::StreamExt as _;
use goldfleet_model::ids::{ImageName, ImageVersion, JobId};
use goldfleet_model::job::{Job, JobState};
use goldfleet_model::manifest::{MANIFESTS, Manifest};
use goldfleet_model::system::System;
use goldfleet_model::upload::{Upload, UploadState};
use goldfleet_ports::blob_store::ListedBlob;
use goldfleet_ports::chunk_store::list;
use goldfleet_ports::clock::elapsed;
use goldfleet_ports::error::PortResult;
use jiff::Timestamp;
use serde::Serialize;

use crate::control::context::{ControlContext, ControlError, MAX_IN_FLIGHT};

/// The number of seconds without a write of its row after which an upload counts as stalled. It writes its row every 2 s.
const STALLED: f64 = 30.0;

/// An uploaded version.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ImageLine {
    /// The image.
    pub image: ImageName,
    /// The version.
    pub version: ImageVersion,
    /// The time at which its manifest was written. From then on it can be dispatched.
    pub uploaded: Timestamp,
    /// Who uploaded it. None for uploads of earlier releases, and if the row was removed. The same holds for `file`.
    pub by: Option<String>,
    /// The file that it was uploaded from.
    pub file: Option<String>,
    /// The size of the disk in bytes. None if neither upload nor manifest can be read.
    pub size: Option<u64>,
    /// Bytes of its chunks, without zero runs.
    pub data_bytes: Option<u64>,
    /// The operating system that the check found on the disk. None if that is not known.
    pub system: Option<System>,
    /// The number of jobs that have dispatched it.
    pub jobs: usize,
    /// The newest of these jobs.
    pub last_job: Option<LastJob>,
    /// What still uses it.
    pub used_by: Vec<Use>,
    /// Why it cannot be dispatched, if its manifest cannot be decoded.
    pub fault: Option<ManifestFault>,
}

/// The fault of a version's manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ManifestFault {
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
    /// Staged VHDs that a job left. A later version may be patched from them.
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

/// An upload in progress.
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
    /// The time at which it last wrote its row.
    pub updated: Timestamp,
    /// Seconds since then.
    pub idle: f64,
    /// Whether it has not written its row for so long that it was probably interrupted.
    pub stalled: bool,
}

/// The uploaded versions by name and time, and the uploads in progress. Only those of one image if one is given.
///
/// # Errors
/// If the source store or the table cannot be read.
pub async fn images(
    control: &ControlContext,
    only: Option<&ImageName>,
) -> Result<(Vec<ImageLine>, Vec<UploadLine>), ControlError> {
    let uploads = control.ports.table.uploads().await?;
    let jobs: Vec<Job> = control.ports.table.jobs().await?.into_iter().map(|row| row.value).collect();
    let source = control.config.source.store().container();
    let wanted =
        |listed: ListedBlob| version_of(&listed.name).map(|(image, version)| (image, version, listed.modified));
    let manifests = match list(control.ports.blobs.as_ref(), &source, MANIFESTS).await {
        Ok(listed) => listed,
        // Nothing was uploaded yet.
        Err(error) if error.kind == goldfleet_ports::error::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    let versions = manifests.into_iter().filter_map(wanted);
    let mut lines: Vec<ImageLine> = versions
        .filter(|(image, ..)| only.is_none_or(|only| only == image))
        .map(|(image, version, uploaded)| line(image, version, uploaded, &uploads, &jobs))
        .collect();
    lines.sort_by(|a, b| (&a.image, a.uploaded, &a.version).cmp(&(&b.image, b.uploaded, &b.version)));
    read_manifests(control, &mut lines, &uploads).await?;
    let now = control.ports.clock.now();
    let done: BTreeMap<_, _> = lines.iter().map(|line| ((&line.image, &line.version), line.uploaded)).collect();
    let mut seen = BTreeSet::new();
    let running = uploads.iter().filter(|upload| {
        // Of several runs only the newest counts; an upload that was silent for a grace period is over, see `collect`.
        let is_newest = seen.insert((&upload.image, &upload.version));
        let is_over = done.get(&(&upload.image, &upload.version)).is_some_and(|at| *at >= upload.updated)
            || elapsed(upload.updated, now) > control.config.cleanup.chunk_grace.get();
        let is_wanted = only.is_none_or(|only| *only == upload.image);
        upload.state == UploadState::Running && is_newest && !is_over && is_wanted
    });
    let running = running.map(|upload| upload_line(upload, now)).collect();
    Ok((lines, running))
}

/// The image version that the name of a manifest stands for: the reverse of
/// [`manifest_name`](goldfleet_model::manifest::manifest_name).
fn version_of(name: &str) -> Option<(ImageName, ImageVersion)> {
    let (image, version) = name.strip_prefix(MANIFESTS)?.strip_suffix(".jsonl")?.split_once('/')?;
    Some((image.parse().ok()?, version.parse().ok()?))
}

fn line(image: ImageName, version: ImageVersion, uploaded: Timestamp, uploads: &[Upload], jobs: &[Job]) -> ImageLine {
    // Uploads and jobs are sorted, the newest first.
    let upload = uploads
        .iter()
        .find(|upload| upload.state == UploadState::Complete && upload.image == image && upload.version == version);
    let own: Vec<&Job> = jobs.iter().filter(|job| job.is_for(&image, &version)).collect();
    let payload = own.first().and_then(|job| job.payload());
    let used_by = own.iter().filter_map(|job| match job.state {
        state if !state.is_terminal() => Some(Use::OpenJob { job: job.id.clone() }),
        _ if job.tree.is_some() && !job.cleaned => Some(Use::StagedVhds { job: job.id.clone() }),
        _ => None,
    });
    ImageLine {
        uploaded,
        by: upload.and_then(|upload| upload.by.clone()),
        file: upload.and_then(|upload| upload.file.clone()),
        size: upload.and_then(|upload| upload.size).or_else(|| payload.map(|payload| payload.size)),
        data_bytes: payload.map(|payload| payload.data_bytes).or_else(|| upload.map(|upload| upload.bytes_data)),
        system: upload.and_then(|upload| upload.system.clone()),
        jobs: own.len(),
        last_job: own.first().map(|job| LastJob { job: job.id.clone(), state: job.state }),
        used_by: used_by.collect(),
        fault: None,
        image,
        version,
    }
}

/// Reads the manifests that no upload has proven since they were written, and those of versions whose size no row has. An
/// upload is complete after its manifest is proven. So this usually reads nothing: manifests have megabytes.
async fn read_manifests(control: &ControlContext, lines: &mut [ImageLine], uploads: &[Upload]) -> PortResult<()> {
    let source = control.config.source.store().container();
    let unknown = lines.iter_mut().filter(|line| line.size.is_none() || !is_proven(line, uploads));
    let reads = futures::stream::iter(unknown).map(async |line: &mut ImageLine| {
        let bytes = control.ports.blobs.get(&source.manifest(&line.image, &line.version), None).await?;
        match Manifest::decode(&bytes) {
            Ok(manifest) => {
                line.size = Some(manifest.size);
                line.data_bytes = Some(manifest.data_bytes());
            }
            Err(error) => {
                let message = error.with_remedy(&line.image, &line.version);
                line.fault = Some(ManifestFault { code: error.code(), message });
            }
        }
        Ok(())
    });
    let read: Vec<PortResult<()>> = reads.buffer_unordered(MAX_IN_FLIGHT).collect().await;
    read.into_iter().collect()
}

/// Whether an upload of the version completed after its manifest was last written. If the clocks of the store and the uploader
/// differ, this may be false for a proven manifest.
fn is_proven(line: &ImageLine, uploads: &[Upload]) -> bool {
    uploads.iter().any(|upload| {
        let is_complete = upload.state == UploadState::Complete && upload.updated >= line.uploaded;
        is_complete && upload.image == line.image && upload.version == line.version
    })
}

#[expect(clippy::cast_precision_loss, reason = "seconds")]
fn upload_line(upload: &Upload, now: Timestamp) -> UploadLine {
    let idle = elapsed(upload.updated, now).as_secs() as f64;
    UploadLine {
        image: upload.image.clone(),
        version: upload.version.clone(),
        by: upload.by.clone(),
        file: upload.file.clone(),
        bytes_total: upload.bytes_total,
        bytes_read: upload.bytes_read,
        bytes_sent: upload.bytes_sent,
        updated: upload.updated,
        idle,
        stalled: idle >= STALLED,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use goldfleet_model::manifest::manifest_name;

    #[test]
    fn a_manifest_is_of_one_version() {
        let (image, version) = version_of(&manifest_name("ubuntu-24.04", "2026.11.1")).unwrap();
        assert_eq!((image.as_str(), version.as_str()), ("ubuntu-24.04", "2026.11.1"));
        for other in ["manifests/ubuntu.jsonl", "manifests/a/b/c.jsonl", "chunks/1", "manifests/a/1.json"] {
            assert_eq!(version_of(other), None, "{other}");
        }
    }
}
