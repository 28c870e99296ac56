//! The demonstration: generated golden images, a cloud of directories, and several worker processes. At the end, the
//! VHDs of all targets are read back and compared.

mod setup;
mod workers;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use futures::StreamExt as _;
use goldfleet_config::{Cloud, Config, ConfigError};
use goldfleet_connect::BackendError;
use goldfleet_disk::{AzureDisk, DiskError, OpenError, same_disk};
use goldfleet_kinds::kind::TemporaryBlob;
use goldfleet_model::ids::JobId;
use goldfleet_sources::DiskFile;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::control::context::{ControlContext, ControlError};
use crate::control::local::LocalFleet;
use crate::control::request::request_job;
use crate::control::status::{ReportedState, Status, status};
use crate::control::upload::{UploadError, UploadRequest, upload};
use crate::terminal::follow::{FinishedBy, follow};
use crate::terminal::progress::ProgressDisplay;

pub use setup::DemoSetup;

/// The parameters of a demonstration.
#[derive(Debug, Clone)]
pub struct DemoRequest {
    /// The number of subscriptions.
    pub subscriptions: u32,
    /// The number of regions, including the source's region.
    pub regions: u32,
    /// The number of images.
    pub images: u32,
    /// The number of worker processes.
    pub workers: u32,
    /// The directory of the demonstration.
    pub folder: PathBuf,
    /// The size of each disk, in bytes.
    pub disk: u64,
    /// The data on each disk, in bytes.
    pub data: u64,
}

/// The result of a demonstration.
#[derive(Debug, Clone, Serialize)]
pub struct DemoReport {
    /// Copies and images.
    pub operations: usize,
    /// Succeeded operations.
    pub succeeded: usize,
    /// Failed operations.
    pub failed: usize,
    /// Managed images that were created.
    pub images: usize,
    /// VHDs that were assembled.
    pub copies: usize,
    /// Stores that were filled.
    pub seeds: usize,
    /// Bytes written to VHDs.
    pub bytes_copied: u64,
    /// Bytes that were copied between regions.
    pub wan_bytes: u64,
    /// Bytes that were copied between regions, by destination region.
    pub wan_bytes_by_region: BTreeMap<String, u64>,
    /// Bytes of data on all golden disks, without zero runs.
    pub data_bytes: u64,
    /// Bytes that the uploads sent.
    pub upload_bytes: u64,
    /// Seconds from the first upload to the last image. Generating the golden disks and verifying are not included.
    pub seconds: f64,
    /// Seconds that verification took.
    pub verify_seconds: f64,
    /// The peak memory of the worker process that used most, in bytes.
    pub worker_peak_memory: u64,
    /// Whether the VHDs of all targets were read back and are identical to their golden disks, byte for byte.
    pub verified: bool,
    /// The ids of the jobs.
    pub jobs: Vec<String>,
    /// The directory of the demonstration.
    pub folder: PathBuf,
}

/// Why a demonstration failed.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// The directory does not belong to a demonstration.
    #[error("{} exists and is no folder of an earlier demonstration: name another with --folder", .0.display())]
    Occupied(PathBuf),
    /// The directory of an earlier demonstration contains something that the demonstration did not create.
    #[error("{} holds {}, which no demonstration made: move it elsewhere, or name another folder with --folder",
        folder.display(), name.display())]
    Foreign {
        /// The folder.
        folder: PathBuf,
        /// The unexpected content.
        name: PathBuf,
    },
    /// An operation on a file or a process failed.
    #[error("{what}: {source}")]
    Io {
        /// The operation.
        what: String,
        /// The cause.
        source: io::Error,
    },
    /// The configuration of the demonstration is not valid.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// An adapter could not be created.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// A command on a job failed.
    #[error(transparent)]
    Desk(#[from] ControlError),
    /// An upload failed.
    #[error(transparent)]
    Upload(#[from] UploadError),
    /// A golden disk that cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A disk cannot be read back.
    #[error("{what}: {source}")]
    Disk {
        /// The VHD.
        what: String,
        /// The cause.
        source: DiskError,
    },
    /// The command was interrupted.
    #[error("interrupted")]
    Interrupted,
}

impl DemoError {
    /// The program's exit code.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Occupied(_) | Self::Foreign { .. } | Self::Config(_) => 2,
            Self::Backend(error) => error.exit_code(),
            Self::Desk(error) => error.exit_code(),
            Self::Interrupted | Self::Upload(UploadError::Interrupted) => 130,
            Self::Io { .. } | Self::Upload(_) | Self::Open(_) | Self::Disk { .. } => 1,
        }
    }

    fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}

/// Runs the demonstration. Returns the report and the last status of each job.
///
/// # Errors
/// [`DemoError`].
pub async fn demo(
    asked: &DemoRequest,
    progress: &ProgressDisplay,
    stop: &CancellationToken,
) -> Result<(DemoReport, Vec<Status>), DemoError> {
    let setup = DemoSetup::build(asked)?;
    let config = Arc::new(Config::load(Some(&setup.config), std::iter::empty())?);
    let ports = goldfleet_connect::open(&config)?;
    ports.queue.ensure().await.map_err(ControlError::from)?;
    ports.table.ensure().await.map_err(ControlError::from)?;
    let control = ControlContext::new(ports, config, "goldfleet demo");
    let workers = workers::Workers::start(asked.workers, &setup.config)?;
    let dispatcher = LocalFleet::without_worker(&control);

    let begun = Instant::now();
    let done = run_jobs(&control, &setup, progress, stop).await;
    let seconds = begun.elapsed().as_secs_f64();
    dispatcher.drain().await;
    let worker_peak_memory = workers.stop().await;
    progress.end();
    let driven = done?;

    let begun = Instant::now();
    let verified = verify(&control, &setup, &driven.statuses).await?;
    let ran = RunTotals { seconds, verified, verify_seconds: begun.elapsed().as_secs_f64(), worker_peak_memory };
    let report = report(&driven, &ran, asked.folder.clone());
    Ok((report, driven.statuses))
}

/// The results of the processes.
struct RunTotals {
    seconds: f64,
    verified: bool,
    verify_seconds: f64,
    worker_peak_memory: u64,
}

/// The results of all jobs.
struct JobTotals {
    statuses: Vec<Status>,
    data_bytes: u64,
    upload_bytes: u64,
}

/// Uploads and dispatches every image, and follows all jobs until they end.
async fn run_jobs(
    control: &ControlContext,
    setup: &DemoSetup,
    progress: &ProgressDisplay,
    stop: &CancellationToken,
) -> Result<JobTotals, DemoError> {
    let mut jobs: Vec<JobId> = Vec::new();
    let (mut data_bytes, mut upload_bytes) = (0, 0);
    for golden in &setup.golden {
        let asked = UploadRequest {
            source: DiskFile::shared(&golden.file),
            image: golden.image.clone(),
            version: golden.version.clone(),
            os: golden.os,
            check: crate::control::check::ImageChecks::default(),
            limit: None,
        };
        let begun = Instant::now();
        let uploaded = upload(control, &asked, &|row| progress.upload(row, begun), stop).await?;
        data_bytes += uploaded.counts.bytes_data;
        upload_bytes += uploaded.counts.bytes_sent;
        jobs.push(request_job(control, &golden.image, &golden.version, &[], false).await?.job.id);
    }
    for job in &jobs {
        let followed = follow(control, job, FinishedBy::ThisProcess, progress, stop).await?;
        followed.ok_or(DemoError::Interrupted)?;
    }
    // Read all statuses at the end: the first job may have changed while the last one was followed.
    let mut statuses = Vec::new();
    for job in &jobs {
        statuses.push(status(&control.jobs, &control.jobs.job(job).await?.value).await?);
    }
    Ok(JobTotals { statuses, data_bytes, upload_bytes })
}

/// The report, from the jobs' rows and the results of the processes.
fn report(driven: &JobTotals, ran: &RunTotals, folder: PathBuf) -> DemoReport {
    let statuses = &driven.statuses;
    let sum = |count: fn(&Status) -> usize| statuses.iter().map(count).sum::<usize>();
    let mut wan: BTreeMap<String, u64> = BTreeMap::new();
    for (region, bytes) in statuses.iter().flat_map(|status| &status.wan_bytes) {
        *wan.entry(region.clone()).or_default() += bytes;
    }
    DemoReport {
        operations: sum(|s| s.phases.of_kind("copy").total + s.phases.of_kind("image").total),
        succeeded: sum(|s| s.phases.of_kind("copy").succeeded + s.phases.of_kind("image").succeeded),
        failed: sum(|s| s.phases.of_kind("copy").failed + s.phases.of_kind("image").failed),
        images: sum(|s| s.phases.of_kind("image").succeeded),
        copies: sum(|s| s.phases.of_kind("copy").succeeded),
        seeds: sum(|s| s.phases.of_kind("seed").succeeded),
        bytes_copied: statuses.iter().map(|s| s.phases.of_kind("copy").bytes_moved).sum(),
        wan_bytes: wan.values().sum(),
        wan_bytes_by_region: wan,
        data_bytes: driven.data_bytes,
        upload_bytes: driven.upload_bytes,
        seconds: ran.seconds,
        verified: ran.verified,
        verify_seconds: ran.verify_seconds,
        worker_peak_memory: ran.worker_peak_memory,
        jobs: statuses.iter().map(|status| status.job.clone()).collect(),
        folder,
    }
}

/// Reads back the VHD of every target that the rows name, and compares it with the golden disk.
async fn verify(control: &ControlContext, setup: &DemoSetup, statuses: &[Status]) -> Result<bool, DemoError> {
    let Cloud::Directory(cloud) = &control.config.cloud else { return Ok(false) };
    let mut comparisons = Vec::new();
    for (golden, status) in setup.golden.iter().zip(statuses) {
        if status.state != ReportedState::Succeeded {
            return Ok(false);
        }
        let disk = Arc::new(AzureDisk::open(&golden.file)?);
        let job: JobId = status.job.parse().map_err(|error| ControlError::Refused(format!("{error}")))?;
        for row in control.ports.table.operations(&job).await.map_err(ControlError::from)? {
            let kind = control.jobs.registry.get(&row.value.kind);
            let staged = kind.and_then(|kind| kind.temporary_blob(&control.ports, &row.value));
            let Some(TemporaryBlob { blob: vhd, .. }) = staged else { continue };
            let account = cloud.root.join(vhd.container.account.as_str());
            let file = account.join(vhd.container.container.as_str()).join(&vhd.name);
            comparisons.push((Arc::clone(&disk), file));
        }
    }
    let threads = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    let mut compared = futures::stream::iter(comparisons)
        .map(|(disk, file)| async move {
            let shown = file.display().to_string();
            let compared = tokio::task::spawn_blocking(move || same_disk(&disk, &file)).await;
            let same = compared.map_err(io::Error::other).map_err(DemoError::io(shown.clone()))?;
            same.map_err(|source| DemoError::Disk { what: shown, source })
        })
        .buffer_unordered(threads);
    let mut same = true;
    while let Some(difference) = compared.next().await {
        same &= difference?.is_none();
    }
    Ok(same)
}
