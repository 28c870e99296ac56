//! Clean-up: staged VHDs that a job's rows name, and image versions that an operator gives up.
//!
//! Only what goldfleet's own rows name and its own metadata mark is ever deleted.

use futures::{StreamExt as _, TryStreamExt as _};
use goldfleet_shared::config::Staged;
use goldfleet_shared::model::ids::{ImageName, ImageVersion, JobId};
use goldfleet_shared::model::image::VhdMetadata;
use goldfleet_shared::model::job::{Job, JobState};
use goldfleet_shared::model::manifest::manifest_name;
use goldfleet_shared::model::operation::{Operation, OperationState, Work};
use goldfleet_shared::model::store::BlobAddress;
use goldfleet_shared::ports::Versioned;
use goldfleet_shared::ports::error::{ErrorKind, PortResult};

use crate::desk::{Desk, DeskError, IN_FLIGHT};

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
/// [`DeskError::Refused`] where the job has not ended, or another that has not works with the same VHDs.
pub async fn cleanup_job(desk: &Desk, id: &JobId) -> Result<Removed, DeskError> {
    let job = desk.job(id).await?.value;
    let operations = desk.ports.table.operations(id).await?;
    if !job.state.is_terminal() && operations.iter().any(|operation| !operation.value.state.is_terminal()) {
        return Err(DeskError::Refused(format!(
            "job {id} has not ended: wait for it with 'goldfleet status {id} --watch', or 'goldfleet cancel {id}'"
        )));
    }
    refuse_if_in_use(desk, &job.image.name, &job.image.version, Some(id)).await?;
    Ok(remove_vhds(desk, &operations).await?)
}

/// After a job's end: removes its staged VHDs, if it succeeded and the configuration says so.
///
/// # Errors
/// Where a store or the table can't be reached.
pub async fn remove_staged(desk: &Desk, job: &Job, operations: &[Versioned<Operation>]) -> Result<(), DeskError> {
    if desk.config.cleanup.staged != Staged::Remove || job.state != JobState::Succeeded || job.cleaned {
        return Ok(());
    }
    let removed = remove_vhds(desk, operations).await?;
    tracing::info!(job = %job.id, vhds = removed.vhds, "staged VHDs are removed");
    mark_cleaned(desk, &job.id).await
}

async fn mark_cleaned(desk: &Desk, id: &JobId) -> Result<(), DeskError> {
    loop {
        let row = desk.job(id).await?;
        let mut job = row.value;
        job.cleaned = true;
        match desk.ports.table.commit_job(&job, &row.etag, &[]).await {
            Ok(_) => return Ok(()),
            Err(error) if error.kind == ErrorKind::Conflict => {}
            Err(error) => return Err(error.into()),
        }
    }
}

async fn remove_vhds(desk: &Desk, operations: &[Versioned<Operation>]) -> PortResult<Removed> {
    let vhds: Vec<(BlobAddress, String)> = operations
        .iter()
        .map(|row| &row.value)
        .filter(|operation| operation.state != OperationState::Skipped)
        .filter_map(|operation| match &operation.work {
            Work::Copy { target, .. } => Some((target.vhd(&operation.image), operation.image.digest.to_string())),
            _ => None,
        })
        .collect();
    let outcomes: Vec<Option<bool>> = futures::stream::iter(vhds)
        .map(|(vhd, digest)| async move { remove_vhd(desk, &vhd, &digest).await })
        .buffer_unordered(IN_FLIGHT)
        .try_collect()
        .await?;
    Ok(Removed {
        vhds: outcomes.iter().filter(|outcome| **outcome == Some(true)).count(),
        left: outcomes.iter().filter(|outcome| **outcome == Some(false)).count(),
    })
}

/// Removes one VHD if it is what the row says; none where there is nothing, false where it is something else.
async fn remove_vhd(desk: &Desk, vhd: &BlobAddress, digest: &str) -> PortResult<Option<bool>> {
    let Some(found) = desk.ports.blobs.properties(vhd).await? else { return Ok(None) };
    if found.metadata.get(VhdMetadata::DIGEST).map(String::as_str) != Some(digest) {
        return Ok(Some(false));
    }
    match desk.ports.blobs.delete(vhd, Some(&found.etag)).await {
        Ok(existed) => Ok(existed.then_some(true)),
        Err(error) if error.kind == ErrorKind::Conflict => Ok(Some(false)),
        Err(error) => Err(error),
    }
}

async fn refuse_if_in_use(
    desk: &Desk,
    image: &ImageName,
    version: &ImageVersion,
    except: Option<&JobId>,
) -> Result<(), DeskError> {
    let open = desk.ports.table.open_jobs().await?;
    let user = open
        .iter()
        .map(|job| &job.value)
        .find(|job| job.image.name == *image && job.image.version == *version && Some(&job.id) != except);
    match user {
        Some(job) => {
            Err(DeskError::Refused(format!("job {} is working with {image} {version}: wait or cancel it", job.id)))
        }
        None => Ok(()),
    }
}

/// Gives up an image version: removes its manifest, so that its chunks can be collected. Managed images and staged VHDs
/// made from it stay. Returns whether there was one.
///
/// # Errors
/// [`DeskError::Refused`] where a job works with it.
pub async fn forget_version(desk: &Desk, image: &ImageName, version: &ImageVersion) -> Result<bool, DeskError> {
    refuse_if_in_use(desk, image, version, None).await?;
    let store = desk.config.source.store();
    let blob = store.container().blob(manifest_name(image.as_str(), version.as_str()));
    Ok(desk.ports.blobs.delete(&blob, None).await?)
}
