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
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Removed {
    /// Staged VHDs removed.
    pub vhds: usize,
    /// VHDs left alone, as they are not what the rows say.
    pub left: usize,
}

/// Removes the staged VHDs of a job that has ended.
///
/// # Errors
/// [`DeskError::Refused`] where the job has not ended, or another that has not works with the same VHDs. The first of the
/// failures, where VHDs could not be removed; all others are.
pub async fn cleanup_job(desk: &Desk, id: &JobId) -> Result<Removed, DeskError> {
    let row = desk.job(id).await?;
    let job = &row.value;
    let operations = desk.ports.table.operations(id).await?;
    if !job.state.is_terminal() && operations.iter().any(|operation| !operation.value.state.is_terminal()) {
        return Err(DeskError::Refused(format!(
            "job {id} has not ended: wait for it with 'goldfleet status {id} --watch', or 'goldfleet cancel {id}'"
        )));
    }
    refuse_if_in_use(desk, &job.image.name, &job.image.version, Some(id)).await?;
    let (removed, failures) = remove_vhds(desk, job, &operations, &HashSet::new()).await;
    if let Some(failure) = failures.into_iter().next() {
        return Err(failure.into());
    }
    // Where the row was changed meanwhile, as by a retry, there may be VHDs again.
    desk.amend(&row, |job| job.cleaned = true).await?;
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
        removed = remove_vhds(desk, job, operations, &used) => Some(removed),
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
) -> (Removed, Vec<PortError>) {
    let (in_use, unused): (Vec<_>, Vec<_>) = vhds(desk, operations)
        .filter(|(_, operation)| operation.state != OperationState::Skipped)
        .map(|(vhd, operation)| (vhd, operation.image.digest.to_string()))
        .partition(|(vhd, _)| used.contains(vhd));
    let outcomes: Vec<PortResult<Vhd>> = futures::stream::iter(unused)
        .map(|(vhd, digest)| async move { remove_vhd(desk, job, &vhd, &digest).await })
        .buffer_unordered(IN_FLIGHT)
        .collect()
        .await;
    let (mut removed, mut failures) = (Removed { vhds: 0, left: in_use.len() }, Vec::new());
    for outcome in outcomes {
        match outcome {
            Ok(Vhd::Removed) => removed.vhds += 1,
            Ok(Vhd::Left) => removed.left += 1,
            Ok(Vhd::Absent) => {}
            Err(error) => {
                tracing::debug!(%error, code = error.code, "a staged VHD could not be removed");
                failures.push(error);
            }
        }
    }
    (removed, failures)
}

/// What became of a VHD that was to be removed.
enum Vhd {
    /// It was removed.
    Removed,
    /// It is not what the row says, or not known to be this fleet's.
    Left,
    /// There was none.
    Absent,
}

/// Removes one VHD if it is what the row says, and still is when it is removed.
async fn remove_vhd(desk: &Desk, job: &Job, vhd: &BlobAddress, digest: &str) -> PortResult<Vhd> {
    let Some(found) = desk.ports.blobs.properties(vhd).await? else { return Ok(Vhd::Absent) };
    let has_content = found.metadata.get(VhdMetadata::DIGEST).map(String::as_str) == Some(digest);
    if !has_content || !is_ours(desk, job, found.metadata.get(VhdMetadata::JOB)).await? {
        return Ok(Vhd::Left);
    }
    match desk.ports.blobs.delete(vhd, Some(&found.etag)).await {
        Ok(true) => Ok(Vhd::Removed),
        Ok(false) => Ok(Vhd::Absent),
        Err(error) if error.kind == ErrorKind::Conflict => Ok(Vhd::Left),
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
    let store = desk.config.source.store();
    let blob = store.container().manifest(image, version);
    let Some(found) = desk.ports.blobs.properties(&blob).await? else { return Ok(false) };
    refuse_if_in_use(desk, image, version, None).await?;
    refuse_if_uploading(desk, image, version).await?;
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
