//! From an operator's wish to a job: the row first, then the message that points at it.

use std::collections::BTreeSet;

use goldfleet_config::targets::TargetsFile;
use goldfleet_model::ids::{ImageName, ImageVersion, JobId};
use goldfleet_model::image::ImageRef;
use goldfleet_model::job::{Job, JobState, Payload};
use goldfleet_model::manifest::{Manifest, digest_of};
use goldfleet_model::operation::{Operation, OperationId};
use goldfleet_model::selector::Selector;
use goldfleet_model::target::{Target, TargetKey};
use goldfleet_ports::Versioned;
use goldfleet_ports::chance;
use goldfleet_ports::error::{ErrorKind, PortResult};
use goldfleet_rates::Rates;
use jiff::Timestamp;

use crate::control::desk::{Desk, DeskError, states};

/// A job, and whether this request made it.
#[derive(Debug, Clone)]
pub struct Requested {
    /// The job.
    pub job: Job,
    /// Whether it is new; else it was asked for before and has not ended.
    pub new: bool,
}

/// Reads an image version's manifest from the source store.
///
/// # Errors
/// [`DeskError::NoSuchImage`] where it is not there.
pub async fn manifest(
    desk: &Desk,
    image: &ImageName,
    version: &ImageVersion,
) -> Result<(ImageRef, Manifest), DeskError> {
    let store = desk.config.source.store();
    let blob = store.container().manifest(image, version);
    let bytes = desk.ports.blobs.get(&blob, None).await.map_err(|error| match error.kind {
        ErrorKind::NotFound => {
            DeskError::NoSuchImage { image: image.to_string(), version: version.to_string(), store: store.to_string() }
        }
        _ => error.into(),
    })?;
    let manifest = Manifest::decode(&bytes).map_err(|error| DeskError::Refused(format!("{blob}: {error}")))?;
    let image = ImageRef { name: image.clone(), version: version.clone(), digest: digest_of(&bytes) };
    Ok((image, manifest))
}

/// What targets are sorted by before they are planned for: ring by ring, as the first of a region lends the first store.
#[must_use]
pub fn plan_order(target: &Target) -> (u32, TargetKey) {
    (target.ring, target.key())
}

/// The enabled targets that are selected; at least one.
///
/// # Errors
/// [`DeskError`] where the targets file can't be used, or nothing of it is selected.
pub fn selected_targets(desk: &Desk, selection: &[Selector]) -> Result<(TargetsFile, Vec<Target>), DeskError> {
    let file = TargetsFile::load(&desk.config.targets.file)?;
    let selected: Vec<Target> = file.selected(selection).into_iter().cloned().collect();
    if selected.is_empty() {
        let path = desk.config.targets.file.display();
        return Err(DeskError::Refused(format!(
            "no enabled target of {path} is selected: 'goldfleet targets list' shows what there is"
        )));
    }
    Ok((file, selected))
}

/// Facts of an image version that a job carries.
#[must_use]
pub fn payload(manifest: &Manifest) -> Payload {
    Payload {
        os: manifest.os,
        generation: manifest.generation,
        size: manifest.size,
        chunks: manifest.chunk_count(),
        data_bytes: manifest.data_bytes(),
    }
}

/// A job that is asked for now.
#[must_use]
pub fn job(id: JobId, image: ImageRef, payload: Payload, selection: Vec<Selector>, now: Timestamp) -> Job {
    Job {
        id,
        image,
        payload,
        selection,
        state: JobState::Requested,
        approvals: None,
        tree: None,
        failure: None,
        cleaned: false,
        removing: false,
        created: now,
        updated: now,
        finished: None,
    }
}

/// Asks for an image version at the selected targets; with `approve`, every ring after the first waits for an operator's
/// approval. Asking again for the same while it is under way changes nothing, but for the message, which may have been
/// lost. A job that was planned before a target was added is not the same.
///
/// # Errors
/// [`DeskError`] where the image is not there, the same is under way without the approvals that are asked for, or table or
/// queue can't be reached.
pub async fn request(
    desk: &Desk,
    image: &ImageName,
    version: &ImageVersion,
    selection: &[Selector],
    approve: bool,
) -> Result<Requested, DeskError> {
    let (image, manifest) = manifest(desk, image, version).await?;
    // Told now, to whom it may concern, rather than as the job's failure later.
    let (_, targets) = selected_targets(desk, selection)?;
    Rates::load(desk.config.plan.rates.as_deref())?;
    if let Some(job) = under_way(desk, &image, selection, &targets).await? {
        if approve && job.approvals.is_none() {
            return Err(DeskError::Refused(format!(
                "job {id} is already doing this, and waits for no approval between its rings: 'goldfleet cancel {id}' \
                 stops it, then dispatch again",
                id = job.id
            )));
        }
        if job.state == JobState::Requested {
            desk.announce_job(&job.id).await?;
        }
        return Ok(Requested { job, new: false });
    }
    let now = desk.ports.clock.now();
    let job = Job {
        approvals: approve.then(Vec::new),
        ..job(JobId::new(now, chance::number()), image, payload(&manifest), selection.to_vec(), now)
    };
    desk.ports.table.insert_job(&job).await?;
    desk.announce_job(&job.id).await?;
    Ok(Requested { job, new: true })
}

/// The job that does what is asked for, if there is one.
async fn under_way(
    desk: &Desk,
    image: &ImageRef,
    selection: &[Selector],
    targets: &[Target],
) -> PortResult<Option<Job>> {
    let same = |job: &Job| job.image == *image && job.selection == selection && job.state != JobState::Cancelling;
    for job in desk.ports.table.open_jobs().await?.into_iter().map(|job| job.value).filter(same) {
        // What has not been planned yet will be by the targets of that time.
        if job.state == JobState::Requested {
            return Ok(Some(job));
        }
        let rows = desk.ports.table.operations(&job.id).await?;
        // One that has only not been swept since its last operation ended does nothing any more.
        if job.end(states(&rows)).is_none() && covers(&rows, targets) {
            return Ok(Some(job));
        }
    }
    Ok(None)
}

/// Whether a job has an operation for each of these targets.
fn covers(rows: &[Versioned<Operation>], targets: &[Target]) -> bool {
    let ids: BTreeSet<&OperationId> = rows.iter().map(|row| &row.value.id).collect();
    targets.iter().all(|target| ids.contains(&OperationId::Image(target.key())))
}
