//! Clean-up: staged VHDs that a job's rows name, and image versions that an operator gives up.
//!
//! A VHD is deleted only where it is known to be ours and unused: a row names it, its metadata say that a job of this fleet
//! made it of the row's content, no other job that has work left uses it, and it is still as it was looked at.

use std::collections::HashSet;
use std::time::Duration;

use futures::StreamExt as _;
use goldfleet_config::Staged;
use goldfleet_model::ids::{ImageName, ImageVersion, JobId};
use goldfleet_model::image::VhdMetadata;
use goldfleet_model::job::{Job, JobState};
use goldfleet_model::operation::{Operation, OperationState, Work};
use goldfleet_model::store::BlobAddress;
use goldfleet_model::upload::{Upload, UploadState};
use goldfleet_ports::Versioned;
use goldfleet_ports::clock::{after, before};
use goldfleet_ports::error::{ErrorKind, PortError, PortResult};

use crate::control::desk::{Desk, DeskError, IN_FLIGHT, states};

/// How long after its last operation a job stays open for the sake of staged VHDs that can't be removed now.
const PERSISTENCE: Duration = Duration::from_secs(600);

/// How long a sweep takes at most for a job's staged VHDs: an account that says nothing must not hold other jobs up for longer.
const AT_ONCE: Duration = Duration::from_secs(30);

/// What a clean-up did.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Removed {
    /// Whether nothing was deleted, and `vhds` are those that would be.
    pub dry_run: bool,
    /// Staged VHDs deleted.
    pub vhds: usize,
    /// VHDs left alone, as they are not what the rows say.
    pub left: usize,
    /// VHDs that could not be deleted.
    pub failed: usize,
    /// What happened at each target that the job staged a VHD for, in the order of the targets.
    pub targets: Vec<CleanedTarget>,
}

/// What happened to the staged VHD of one target.
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
    /// It was deleted, or would be in a dry run.
    Deleted,
    /// It stays: it is not what the job staged, or another job uses it.
    Left,
    /// There was none.
    Absent,
    /// It could not be deleted.
    Failed,
}

/// Deletes the staged VHDs of a job that has ended. One that cannot be deleted keeps no other from being deleted:
/// [`Removed::targets`] says which failed.
///
/// # Errors
/// [`DeskError::Refused`] where the job has not ended, or another that has not works with the same VHDs.
pub async fn cleanup_job(desk: &Desk, id: &JobId) -> Result<Removed, DeskError> {
    cleanup(desk, id, Mode::Delete).await
}

/// Whether VHDs are deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// They are.
    Delete,
    /// They are only looked at.
    DryRun,
}

/// The same as [`cleanup_job`], or a dry run of it.
///
/// # Errors
/// As [`cleanup_job`].
pub async fn cleanup(desk: &Desk, id: &JobId, mode: Mode) -> Result<Removed, DeskError> {
    let row = desk.job(id).await?;
    let job = &row.value;
    let operations = desk.ports.table.operations(id).await?;
    if !job.state.is_terminal() && operations.iter().any(|operation| !operation.value.state.is_terminal()) {
        return Err(DeskError::Refused(format!(
            "job {id} has not ended: wait for it with 'goldfleet status {id} --watch', or 'goldfleet cancel {id}'"
        )));
    }
    refuse_if_in_use(desk, &job.image.name, &job.image.version, Some(id)).await?;
    let (removed, _) = remove_vhds(desk, job, &operations, &HashSet::new(), mode).await;
    if removed.failed == 0 && mode == Mode::Delete {
        // Not where the row was changed meanwhile, as by a retry: then there may be VHDs again.
        desk.amend(&row, |job| job.cleaned = true).await?;
    }
    Ok(removed)
}

/// What became of the staged VHDs of a job that succeeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Staging {
    /// They are gone.
    Removed,
    /// Some or all stay: the configuration says so, another job uses them, or a service refuses to let them go.
    Left,
    /// Some could not be removed now, but that may pass.
    TryAgain,
}

/// Before a job's end as succeeded: removes its staged VHDs, if the configuration says so.
pub async fn remove_staged(desk: &Desk, job: &Job, operations: &[Versioned<Operation>]) -> Staging {
    if desk.config.cleanup.staged != Staged::Remove {
        return Staging::Left;
    }
    let last = operations.iter().map(|operation| operation.value.updated).max().unwrap_or(job.updated);
    let in_time = desk.ports.clock.now() < after(last, PERSISTENCE);
    let used = match used_by_others(desk, job, operations).await {
        Ok(used) => used,
        Err(error) => {
            tracing::warn!(job = %job.id, %error, "whether other jobs use the staged VHDs could not be found out");
            return if in_time && error.is_retryable() { Staging::TryAgain } else { Staging::Left };
        }
    };
    // Whoever waits for this does nothing else.
    let removed = tokio::select! {
        biased;
        removed = remove_vhds(desk, job, operations, &used, Mode::Delete) => Some(removed),
        () = desk.ports.clock.sleep(AT_ONCE) => None,
    };
    let Some((removed, failures)) = removed else {
        tracing::warn!(job = %job.id, "staged VHDs could not be removed in {AT_ONCE:?}");
        return if in_time { Staging::TryAgain } else { Staging::Left };
    };
    tracing::info!(job = %job.id, vhds = removed.vhds, "staged VHDs are removed");
    let Some(error) = failures.first() else {
        return if removed.left == 0 { Staging::Removed } else { Staging::Left };
    };
    tracing::warn!(job = %job.id, failed = failures.len(), %error, "staged VHDs could not be removed");
    let may_pass = in_time && failures.iter().any(PortError::is_retryable);
    if may_pass { Staging::TryAgain } else { Staging::Left }
}

/// The VHDs that other jobs of the same version have work left with: their copies may rely on those that this job made.
async fn used_by_others(
    desk: &Desk,
    job: &Job,
    operations: &[Versioned<Operation>],
) -> PortResult<HashSet<BlobAddress>> {
    let mut used = HashSet::new();
    for other in desk.ports.table.open_jobs().await?.into_iter().map(|row| row.value) {
        let same_version = other.image.name == job.image.name && other.image.version == job.image.version;
        if !same_version || other.id == job.id {
            continue;
        }
        if other.tree.is_none() {
            // Which targets it will have is decided when it is planned: any of this job's.
            used.extend(vhds(desk, operations).map(|(vhd, _)| vhd));
            continue;
        }
        let others = desk.ports.table.operations(&other.id).await?;
        if other.end(states(&others)).is_none() {
            used.extend(vhds(desk, &others).map(|(vhd, _)| vhd));
        }
    }
    Ok(used)
}

/// The VHDs that copies name, each with the operation.
fn vhds<'a>(
    desk: &'a Desk,
    operations: &'a [Versioned<Operation>],
) -> impl Iterator<Item = (BlobAddress, &'a Operation)> {
    operations.iter().map(|row| &row.value).filter_map(|operation| match &operation.work {
        Work::Copy { target, .. } => Some((desk.ports.vhd(target, &operation.image), operation)),
        _ => None,
    })
}

/// Removes the VHDs of copies, but for those that are `used`. One that can't be removed keeps no other from being removed.
async fn remove_vhds(
    desk: &Desk,
    job: &Job,
    operations: &[Versioned<Operation>],
    used: &HashSet<BlobAddress>,
    mode: Mode,
) -> (Removed, Vec<PortError>) {
    let staged = vhds(desk, operations).filter(|(_, operation)| operation.state != OperationState::Skipped);
    let staged: Vec<StagedVhd> = staged.map(|(vhd, operation)| StagedVhd::of(vhd, operation)).collect();
    // In the order of the targets.
    let outcomes: Vec<(StagedVhd, PortResult<Cleaned>)> = futures::stream::iter(staged)
        .map(|staged| async move {
            let outcome = if used.contains(&staged.vhd) {
                Ok(Cleaned::Left)
            } else {
                remove_vhd(desk, job, &staged.vhd, &staged.digest, mode).await
            };
            (staged, outcome)
        })
        .buffered(IN_FLIGHT)
        .collect()
        .await;
    let mut removed = Removed { dry_run: mode == Mode::DryRun, ..Removed::default() };
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
    fn of(vhd: BlobAddress, operation: &Operation) -> Self {
        let name = operation.work.target().and_then(|target| target.name.clone());
        Self { target: operation.id.place(), name, vhd, digest: operation.image.digest.to_string() }
    }
}

/// Deletes one VHD if it is what the row says, and still is when it is deleted.
async fn remove_vhd(desk: &Desk, job: &Job, vhd: &BlobAddress, digest: &str, mode: Mode) -> PortResult<Cleaned> {
    let Some(found) = desk.ports.blobs.properties(vhd).await? else { return Ok(Cleaned::Absent) };
    let has_content = found.metadata.get(VhdMetadata::DIGEST).map(String::as_str) == Some(digest);
    if !has_content || !is_ours(desk, job, found.metadata.get(VhdMetadata::JOB)).await? {
        return Ok(Cleaned::Left);
    }
    if mode == Mode::DryRun {
        return Ok(Cleaned::Deleted);
    }
    match desk.ports.blobs.delete(vhd, Some(&found.etag)).await {
        Ok(true) => Ok(Cleaned::Deleted),
        Ok(false) => Ok(Cleaned::Absent),
        Err(error) if error.kind == ErrorKind::Conflict => Ok(Cleaned::Left),
        Err(error) => Err(error),
    }
}

/// Whether a job of this fleet made a VHD. Another fleet may stage the same version in the same container: its jobs are in
/// another table, so nobody here can tell whether it still uses the VHD.
async fn is_ours(desk: &Desk, job: &Job, maker: Option<&String>) -> PortResult<bool> {
    match maker.and_then(|maker| maker.parse::<JobId>().ok()) {
        Some(maker) if maker == job.id => Ok(true),
        Some(maker) => Ok(desk.ports.table.job(&maker).await?.is_some()),
        None => Ok(false),
    }
}

async fn refuse_if_in_use(
    desk: &Desk,
    image: &ImageName,
    version: &ImageVersion,
    except: Option<&JobId>,
) -> Result<(), DeskError> {
    let uses = |job: &Job| job.image.name == *image && job.image.version == *version && Some(&job.id) != except;
    for job in desk.ports.table.open_jobs().await?.into_iter().map(|job| job.value).filter(uses) {
        // What is stopping may be planned still, by a dispatcher that does not know that yet.
        if job.state == JobState::Cancelling || desk.has_work(&job).await? {
            let message = format!("job {} is working with {image} {version}: wait or cancel it", job.id);
            return Err(DeskError::Refused(message));
        }
    }
    Ok(())
}

/// Gives up an image version: removes its manifest, so that its chunks can be collected. Managed images and staged VHDs
/// made from it stay. Returns whether there was one.
///
/// # Errors
/// [`DeskError::Refused`] where a job or an upload works with it, or the manifest was written again meanwhile.
pub async fn forget_version(desk: &Desk, image: &ImageName, version: &ImageVersion) -> Result<bool, DeskError> {
    delete_version(desk, image, version, Mode::Delete).await
}

/// The same as [`forget_version`], or a dry run of it.
///
/// # Errors
/// As [`forget_version`].
pub async fn delete_version(
    desk: &Desk,
    image: &ImageName,
    version: &ImageVersion,
    mode: Mode,
) -> Result<bool, DeskError> {
    let store = desk.config.source.store();
    let blob = store.container().manifest(image, version);
    let Some(found) = desk.ports.blobs.properties(&blob).await? else { return Ok(false) };
    refuse_if_in_use(desk, image, version, None).await?;
    refuse_if_uploading(desk, image, version).await?;
    if mode == Mode::DryRun {
        return Ok(true);
    }
    match desk.ports.blobs.delete(&blob, Some(&found.etag)).await {
        Err(error) if error.kind == ErrorKind::Conflict => {
            Err(DeskError::Refused(format!("{image} {version} was uploaded again just now: it stays")))
        }
        removed => Ok(removed?),
    }
}

/// Refuses while an upload of the version runs: it may have found the manifest, and rely on that for its chunks to stay.
async fn refuse_if_uploading(desk: &Desk, image: &ImageName, version: &ImageVersion) -> Result<(), DeskError> {
    let alive = before(desk.ports.clock.now(), desk.config.cleanup.chunk_grace.get());
    let same = |upload: &Upload| upload.image == *image && upload.version == *version;
    let runs = |upload: &Upload| upload.state == UploadState::Running && upload.updated > alive;
    if desk.ports.table.uploads().await?.iter().any(|upload| same(upload) && runs(upload)) {
        return Err(DeskError::Refused(format!("{image} {version} is being uploaded: wait for that, or interrupt it")));
    }
    Ok(())
}
