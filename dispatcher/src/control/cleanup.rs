//! Clean-up: deletes the staged VHDs that a job's rows name, and image versions that an operator no longer needs.
//!
//! A VHD is deleted only if it belongs to this fleet and is not in use: a row names it, its metadata say that a job of
//! this fleet wrote it from the row's content, no other job with unfinished work uses it, and its ETag has not changed
//! since it was inspected.

use std::collections::HashSet;
use std::time::Duration;

use futures::StreamExt as _;
use goldfleet_config::Config;
use goldfleet_config::StagedPolicy;
use goldfleet_kinds::kind::TemporaryBlob;
use goldfleet_model::artifact::{ArtifactError, ArtifactRecord};
use goldfleet_model::ids::{ImageName, ImageVersion, JobId};
use goldfleet_model::image::VhdMetadata;
use goldfleet_model::job::{Job, JobState};
use goldfleet_model::manifest::earlier_manifest_name;
use goldfleet_model::operation::{Operation, OperationState};
use goldfleet_model::store::BlobAddress;
use goldfleet_model::upload::{Upload, UploadState};
use goldfleet_ports::clock::{after, before};
use goldfleet_ports::error::{ErrorKind, PortError, PortResult};
use goldfleet_ports::{Ports, Versioned};

use crate::control::artifacts::read_optional;
use crate::control::context::{ControlContext, ControlError, MAX_IN_FLIGHT};
use crate::control::fan_out::is_same_work;
use crate::control::job_store::{JobStore, states};

/// How long a job stays open after its last operation if its staged VHDs cannot be removed.
const STAGED_RETRY_WINDOW: Duration = Duration::from_secs(600);

/// The maximum time that one reconciler pass spends on the staged VHDs of a job. An account that does not answer must
/// not delay other jobs any longer.
const STAGED_TIME_LIMIT: Duration = Duration::from_secs(30);

/// The result of a clean-up.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct CleanupResult {
    /// Whether nothing was deleted, and `vhds` counts what would be deleted.
    pub dry_run: bool,
    /// Staged VHDs deleted.
    pub vhds: usize,
    /// VHDs that were kept because they do not match the rows, or because another job uses them.
    pub left: usize,
    /// VHDs that could not be deleted.
    pub failed: usize,
    /// The result for each target for which the job staged a VHD, in the order of the targets.
    pub targets: Vec<CleanedTarget>,
}

/// The result for the staged VHD of one target.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct CleanedTarget {
    /// The target, `subscription/region`.
    pub target: String,
    /// The display name of its subscription.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The VHD.
    pub vhd: String,
    /// What happened.
    pub result: Cleaned,
    /// The code of the failure, if it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The reason of the failure, if it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What happened to a staged VHD.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cleaned {
    /// It was deleted, or a dry run would delete it.
    Deleted,
    /// It was kept: the job did not stage it, or another job uses it.
    Left,
    /// It does not exist.
    Absent,
    /// It could not be deleted.
    Failed,
}

/// Deletes the staged VHDs of a job that has ended. A failure to delete one VHD does not prevent the deletion of
/// others: [`CleanupResult::targets`] lists the failures.
///
/// # Errors
/// [`ControlError::Refused`] if the job has not ended, or if another open job works with the same VHDs.
pub async fn cleanup_job(jobs: &JobStore, id: &JobId) -> Result<CleanupResult, ControlError> {
    cleanup(jobs, id, Mode::Delete).await
}

/// Whether VHDs are deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Delete them.
    Delete,
    /// Only find out what would be deleted.
    DryRun,
}

/// [`cleanup_job`], or a dry run of it.
///
/// # Errors
/// As [`cleanup_job`].
pub async fn cleanup(jobs: &JobStore, id: &JobId, mode: Mode) -> Result<CleanupResult, ControlError> {
    let row = jobs.job(id).await?;
    let job = &row.value;
    let operations = jobs.operations(job).await?;
    if !job.state.is_terminal() && operations.iter().any(|operation| !operation.value.state.is_terminal()) {
        return Err(ControlError::Refused(format!(
            "job {id} has not ended: wait for it with 'goldfleet status {id} --watch', or 'goldfleet cancel {id}'"
        )));
    }
    if let Some(image) = job.image() {
        refuse_if_in_use(jobs, &image.name, &image.version, Some(id)).await?;
    }
    let (removed, _) = remove_vhds(jobs, job, &operations, &HashSet::new(), mode).await;
    if removed.failed == 0 && mode == Mode::Delete {
        // The row is not written if it was changed in the meantime, for example by a retry. There may be VHDs again in
        // that case.
        jobs.update_job(&row, |job| job.cleaned = true).await?;
    }
    Ok(removed)
}

/// The result for the staged VHDs of a job that succeeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StagedOutcome {
    /// All were removed.
    Removed,
    /// Some or all were kept because the configuration requires it, another job uses them, or a service refuses to
    /// delete them.
    Left,
    /// Some could not be removed now, but a retry may succeed.
    Retry,
}

/// Removes the staged VHDs of a job before it ends as succeeded, if the configuration requires it. The operations of
/// the job are read only in this case.
///
/// # Errors
/// If the operations cannot be read.
pub async fn remove_staged(control: &ControlContext, job: &Job) -> PortResult<StagedOutcome> {
    if control.config.cleanup.staged != StagedPolicy::Remove {
        return Ok(StagedOutcome::Left);
    }
    let operations = control.jobs.operations(job).await?;
    Ok(remove_staged_of(&control.jobs, job, &operations).await)
}

async fn remove_staged_of(jobs: &JobStore, job: &Job, operations: &[Versioned<Operation>]) -> StagedOutcome {
    let last = operations.iter().map(|operation| operation.value.updated).max().unwrap_or(job.updated);
    let in_time = jobs.ports.clock.now() < after(last, STAGED_RETRY_WINDOW);
    let used = match used_by_others(jobs, job, operations).await {
        Ok(used) => used,
        Err(error) => {
            tracing::warn!(job = %job.id, %error, "the staged VHDs are kept: the rows of other jobs could not be read");
            return if in_time && error.is_retryable() { StagedOutcome::Retry } else { StagedOutcome::Left };
        }
    };
    // The time is limited because the reconciler does nothing else while it waits.
    let removed = tokio::select! {
        biased;
        removed = remove_vhds(jobs, job, operations, &used, Mode::Delete) => Some(removed),
        () = jobs.ports.clock.sleep(STAGED_TIME_LIMIT) => None,
    };
    let Some((removed, failures)) = removed else {
        tracing::warn!(job = %job.id, "staged VHDs could not be removed in {STAGED_TIME_LIMIT:?}");
        return if in_time { StagedOutcome::Retry } else { StagedOutcome::Left };
    };
    tracing::info!(job = %job.id, vhds = removed.vhds, "staged VHDs are removed");
    let Some(error) = failures.first() else {
        return if removed.left == 0 { StagedOutcome::Removed } else { StagedOutcome::Left };
    };
    tracing::warn!(job = %job.id, failed = failures.len(), %error, "staged VHDs could not be removed");
    let may_pass = in_time && failures.iter().any(PortError::is_retryable);
    if may_pass { StagedOutcome::Retry } else { StagedOutcome::Left }
}

/// The VHDs that other open jobs of the same version still use. The copies of those jobs may rely on VHDs that this job
/// made.
async fn used_by_others(
    jobs: &JobStore,
    job: &Job,
    operations: &[Versioned<Operation>],
) -> PortResult<HashSet<BlobAddress>> {
    let mut used = HashSet::new();
    for other in jobs.ports.table.open_jobs().await?.into_iter().map(|row| row.value) {
        if !is_same_work(&other, job) {
            continue;
        }
        if other.operations.is_none() {
            // The targets of an unplanned job are not known yet. It may use all VHDs of this job.
            used.extend(vhds(jobs, operations).map(|(vhd, _)| vhd.blob));
            continue;
        }
        let others = jobs.operations(&other).await?;
        if other.job_end(states(&others)).is_none() {
            used.extend(vhds(jobs, &others).map(|(vhd, _)| vhd.blob));
        }
    }
    Ok(used)
}

/// The VHDs that operations name, each with its operation.
fn vhds<'a>(
    jobs: &'a JobStore,
    operations: &'a [Versioned<Operation>],
) -> impl Iterator<Item = (TemporaryBlob, &'a Operation)> {
    operations
        .iter()
        .map(|row| &row.value)
        .filter_map(|operation| Some((jobs.registry.temporary_blob(&jobs.ports, operation)?, operation)))
}

/// Removes the VHDs of a job, except those in `used`. A failure to remove one VHD does not prevent the removal of
/// others.
async fn remove_vhds(
    jobs: &JobStore,
    job: &Job,
    operations: &[Versioned<Operation>],
    used: &HashSet<BlobAddress>,
    mode: Mode,
) -> (CleanupResult, Vec<PortError>) {
    let staged = vhds(jobs, operations).filter(|(_, operation)| operation.state != OperationState::Skipped);
    let staged: Vec<StagedVhd> = staged.map(|(vhd, operation)| StagedVhd::of(vhd, operation)).collect();
    // `buffered` keeps the order of the targets.
    let outcomes: Vec<(StagedVhd, PortResult<Cleaned>)> = futures::stream::iter(staged)
        .map(|staged| async move {
            let outcome = if used.contains(&staged.vhd) {
                Ok(Cleaned::Left)
            } else {
                remove_vhd(&jobs.ports, job, &staged.vhd, &staged.digest, mode).await
            };
            (staged, outcome)
        })
        .buffered(MAX_IN_FLIGHT)
        .collect()
        .await;
    let mut removed = CleanupResult { dry_run: mode == Mode::DryRun, ..CleanupResult::default() };
    let mut failures = Vec::new();
    for (staged, outcome) in outcomes {
        let result = *outcome.as_ref().unwrap_or(&Cleaned::Failed);
        removed.vhds += usize::from(result == Cleaned::Deleted);
        removed.left += usize::from(result == Cleaned::Left);
        removed.failed += usize::from(result == Cleaned::Failed);
        let error = outcome.err();
        removed.targets.push(CleanedTarget {
            target: staged.target,
            name: staged.name,
            vhd: staged.vhd.to_string(),
            result,
            code: error.as_ref().map(|error| error.code.clone()),
            error: error.as_ref().map(ToString::to_string),
        });
        failures.extend(error);
    }
    (removed, failures)
}

/// A VHD that a copy staged.
struct StagedVhd {
    target: String,
    name: Option<String>,
    vhd: BlobAddress,
    digest: String,
}

impl StagedVhd {
    fn of(TemporaryBlob { blob, disk }: TemporaryBlob, operation: &Operation) -> Self {
        let name = operation.target().and_then(|target| target.name.clone());
        Self { target: operation.place.label.clone(), name, vhd: blob, digest: disk.manifest.to_string() }
    }
}

/// Deletes one VHD if its content is what the row says and its ETag has not changed since.
async fn remove_vhd(ports: &Ports, job: &Job, vhd: &BlobAddress, digest: &str, mode: Mode) -> PortResult<Cleaned> {
    let Some(found) = ports.blobs.properties(vhd).await? else { return Ok(Cleaned::Absent) };
    let has_content = found.metadata.get(VhdMetadata::DIGEST).map(String::as_str) == Some(digest);
    if !has_content || !is_ours(ports, job, found.metadata.get(VhdMetadata::JOB)).await? {
        return Ok(Cleaned::Left);
    }
    if mode == Mode::DryRun {
        return Ok(Cleaned::Deleted);
    }
    match ports.blobs.delete(vhd, Some(&found.etag)).await {
        Ok(true) => Ok(Cleaned::Deleted),
        Ok(false) => Ok(Cleaned::Absent),
        Err(error) if error.kind == ErrorKind::Conflict => Ok(Cleaned::Left),
        Err(error) => Err(error),
    }
}

/// Whether a job of this fleet made a VHD. Another fleet may stage the same version in the same container. Its jobs are
/// in another table, so this fleet cannot know whether the other one still uses the VHD.
async fn is_ours(ports: &Ports, job: &Job, maker: Option<&String>) -> PortResult<bool> {
    match maker.and_then(|maker| maker.parse::<JobId>().ok()) {
        Some(maker) if maker == job.id => Ok(true),
        Some(maker) => Ok(ports.table.job(&maker).await?.is_some()),
        None => Ok(false),
    }
}

async fn refuse_if_in_use(
    jobs: &JobStore,
    image: &ImageName,
    version: &ImageVersion,
    except: Option<&JobId>,
) -> Result<(), ControlError> {
    let uses = |job: &Job| job.is_for(image, version) && Some(&job.id) != except;
    for job in jobs.ports.table.open_jobs().await?.into_iter().map(|job| job.value).filter(uses) {
        // A dispatcher that has not noticed the cancellation yet may still be planning a cancelling job.
        if job.state == JobState::Cancelling || jobs.has_unfinished_work(&job).await? {
            let message = format!("job {} is working with {image} {version}: wait or cancel it", job.id);
            return Err(ControlError::Refused(message));
        }
    }
    Ok(())
}

/// Deletes an image version: removes its artifact record, so that garbage collection can delete its manifests and
/// chunks. Managed images and staged VHDs of the version are kept. Returns whether the version existed. A version that
/// an earlier release uploaded has only a manifest, which is removed.
///
/// Manifests are not removed here: an upload that has just begun may have found them, and relies on them.
///
/// # Errors
/// [`ControlError::Refused`] if a job or an upload works with the version, or if the record was written again in the
/// meantime.
pub async fn delete_version(
    control: &ControlContext,
    image: &ImageName,
    version: &ImageVersion,
) -> Result<bool, ControlError> {
    delete_version_with_mode(control, image, version, Mode::Delete).await
}

/// [`delete_version`], or a dry run of it.
///
/// # Errors
/// As [`delete_version`].
pub async fn delete_version_with_mode(
    control: &ControlContext,
    image: &ImageName,
    version: &ImageVersion,
    mode: Mode,
) -> Result<bool, ControlError> {
    let store = control.config.source.store().container();
    let mut existed = false;
    for blob in [store.artifact(image, version), store.blob(earlier_manifest_name(image, version))] {
        existed |= delete_completion_mark(control, (image, version), &blob, mode).await?;
    }
    Ok(existed)
}

/// Deletes the blob whose existence means that a version exists. Returns whether it existed.
async fn delete_completion_mark(
    control: &ControlContext,
    (image, version): (&ImageName, &ImageVersion),
    blob: &BlobAddress,
    mode: Mode,
) -> Result<bool, ControlError> {
    let Some(found) = control.ports.blobs.properties(blob).await? else { return Ok(false) };
    refuse_if_in_use(&control.jobs, image, version, None).await?;
    // An upload relies only on a record that it can read. A damaged record may be deleted although the row of the
    // killed upload that wrote it still looks recent.
    if is_being_uploaded(&control.ports, &control.config, image, version).await?
        && is_readable(&control.ports, blob).await?
    {
        let message = format!("{image} {version} is being uploaded: wait for that, or interrupt it");
        return Err(ControlError::Refused(message));
    }
    if mode == Mode::DryRun {
        return Ok(true);
    }
    match control.ports.blobs.delete(blob, Some(&found.etag)).await {
        Err(error) if error.kind == ErrorKind::Conflict => {
            Err(ControlError::Refused(format!("{image} {version} was uploaded again in the meantime: it is kept")))
        }
        removed => Ok(removed?),
    }
}

/// Whether a version is being uploaded. The upload may have found the record and may rely on it to keep its chunks.
async fn is_being_uploaded(
    ports: &Ports,
    config: &Config,
    image: &ImageName,
    version: &ImageVersion,
) -> PortResult<bool> {
    let alive = before(ports.clock.now(), config.cleanup.chunk_grace.get());
    let same = |upload: &Upload| upload.image == *image && upload.version == *version;
    let runs = |upload: &Upload| upload.state == UploadState::Running && upload.updated > alive;
    Ok(ports.table.uploads().await?.iter().any(|upload| same(upload) && runs(upload)))
}

/// Whether an upload can use a record: neither a damaged one, nor the manifest of an earlier release.
async fn is_readable(ports: &Ports, record: &BlobAddress) -> PortResult<bool> {
    let Some(bytes) = read_optional(ports, record).await? else { return Ok(false) };
    Ok(!matches!(ArtifactRecord::decode(&bytes), Err(ArtifactError::Damaged { .. })))
}
