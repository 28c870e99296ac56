//! What must hold in the end, whatever happened.

use std::collections::BTreeMap;

use bytes::Bytes;
use goldfleet_config::Staged;
use goldfleet_config::targets::TargetsFile;
use goldfleet_dispatcher::control::desk::Desk;
use goldfleet_dispatcher::control::status::{Standing, status};
use goldfleet_model::checksum::crc64;
use goldfleet_model::image::{ManagedImageId, VhdMetadata};
use goldfleet_model::job::{Job, JobState};
use goldfleet_model::manifest::{Digest, Manifest, chunk_name};
use goldfleet_model::message::{Message, QueueName};
use goldfleet_model::operation::{Operation, OperationState, Work};
use goldfleet_model::store::{BlobAddress, Container, Store};
use goldfleet_model::target::Target;
use std::time::Duration;

use crate::golden::SIZE;
use crate::stage::Stage;

/// Puts things that are none of goldfleet's business where goldfleet works.
pub(crate) async fn put_foreign(stage: &Stage) {
    let blobs = &stage.services.blobs;
    for container in containers(stage) {
        blobs.ensure_container(&container).await.unwrap();
        let (note, disk) = (container.blob("golden__notes.txt"), container.blob("golden__0.vhd"));
        blobs.put_blob(&note, Bytes::from_static(b"ours"), crc64(b"ours").into()).await.unwrap();
        // As long as a golden disk, so that it might be taken for an earlier version.
        blobs.create_page_blob(&disk, SIZE + 512, &BTreeMap::new()).await.unwrap();
        stage.ledger.kept.lock().unwrap().foreign.extend([note, disk]);
    }
}

/// The source's container and those of all targets.
fn containers(stage: &Stage) -> Vec<Container> {
    let file = TargetsFile::load(&stage.config.targets.file).unwrap();
    let mut containers: Vec<Container> = file.targets.iter().map(Target::staging).collect();
    containers.extend(file.stores.iter().map(Store::container));
    containers.push(stage.ledger.source.clone());
    containers.sort();
    containers.dedup();
    containers
}

/// Looks at everything there is.
pub(crate) async fn judge(stage: &Stage) {
    let jobs: Vec<Job> = stage.ledger.kept.lock().unwrap().jobs.values().cloned().collect();
    // What was replaced by other content of the same version fails for good.
    for job in jobs.iter().filter(|job| !stage.ledger.has_twin(&job.image)) {
        judge_job(stage, job).await;
    }
    judge_places(stage).await;
    judge_poison(stage).await;
}

fn wrong(stage: &Stage, what: String) {
    stage.chaos.trace.wrong(what);
}

async fn judge_job(stage: &Stage, job: &Job) {
    let desk = Desk::new(stage.services.clone(), std::sync::Arc::clone(&stage.config), "judge");
    let row = desk.job(&job.id).await.unwrap().value;
    let rows = stage.services.table.operations(&job.id).await.unwrap();
    if &row != job {
        wrong(stage, format!("job {} is another than what was written", job.id));
    }
    let status = status(&desk, &row).await.unwrap();
    // Of a target that was switched off when another dispatcher planned the job.
    let too_late = |row: &Operation| {
        row.attempts == 0 && stage.ledger.kept.lock().unwrap().late.contains(&(row.job.clone(), row.id.clone()))
    };
    let all_done = rows.iter().all(|row| is_done(row.value.state) || too_late(&row.value));
    // What was never planned to its end is asked for anew, not tried again.
    if row.tree.is_some() && (row.state != JobState::Succeeded || status.state != Standing::Succeeded || !all_done) {
        let states: Vec<String> = rows.iter().map(|row| format!("{} {}", row.value.id, row.value.state)).collect();
        wrong(stage, format!("job {} is {} and shown as {:?}: {states:?}", job.id, row.state, status.state));
    }
    for (kind, phase) in status.phases.named() {
        let of_kind = || rows.iter().filter(|row| row.value.id.kind() == kind).map(|row| row.value.state);
        let count = |wanted: OperationState| of_kind().filter(|state| *state == wanted).count();
        let (succeeded, skipped) = (count(OperationState::Succeeded), count(OperationState::Skipped));
        if (phase.total, phase.succeeded, phase.skipped) != (of_kind().count(), succeeded, skipped) {
            wrong(stage, format!("job {}: {kind} is shown as {phase:?}", job.id));
        }
    }
    if row.tree.is_none() && !matches!(row.state, JobState::Failed | JobState::Cancelled) {
        wrong(stage, format!("job {} was never planned and is {}", job.id, row.state));
    }
    for row in &rows {
        judge_operation(stage, &row.value).await;
    }
}

fn is_done(state: OperationState) -> bool {
    matches!(state, OperationState::Succeeded | OperationState::Skipped)
}

/// What an operation that is done says is so.
async fn judge_operation(stage: &Stage, operation: &Operation) {
    match &operation.work {
        Work::Image { target, name, .. } if is_done(operation.state) => {
            let (subscription, resource_group) = (target.subscription, target.resource_group.clone());
            let id = ManagedImageId { subscription, resource_group, name: name.clone() };
            let found = stage.services.images.get(&id, None).await.unwrap();
            if !found.is_some_and(|found| found.is_made_of(operation.image.digest, &target.region)) {
                wrong(stage, format!("{name} is not the image of {}", operation.image));
            }
            let has = stage.ledger.has_image(&stage.ledger.kept.lock().unwrap(), &id, operation);
            if !has {
                wrong(stage, format!("{name} has other tags than those of {}", operation.image));
            }
        }
        Work::Copy { target, .. } if operation.state == OperationState::Succeeded => {
            let vhd = stage.services.vhd(target, &operation.image);
            let there = stage.services.blobs.properties(&vhd).await.unwrap().is_some();
            let may_be_gone = stage.config.cleanup.staged == Staged::Remove || stage.cleaned(&operation.image);
            if !there && !may_be_gone {
                wrong(stage, format!("{vhd} is gone"));
            }
        }
        _ => {}
    }
}

/// What lies in stores and staging containers.
async fn judge_places(stage: &Stage) {
    for container in containers(stage) {
        let mut marker = None;
        loop {
            let page = stage.services.blobs.list(&container, "", marker.as_deref()).await.unwrap();
            for blob in &page.blobs {
                judge_blob(stage, &container.blob(blob.name.as_str())).await;
            }
            marker = page.next;
            if marker.is_none() {
                break;
            }
        }
    }
    let foreign: Vec<BlobAddress> = stage.ledger.kept.lock().unwrap().foreign.iter().cloned().collect();
    for blob in foreign {
        if stage.services.blobs.properties(&blob).await.unwrap().is_none() {
            wrong(stage, format!("{blob} is gone, which is none of goldfleet's business"));
        }
    }
    for (image, manifest) in stage.ledger.present() {
        for chunk in &manifest.chunks {
            let blob = stage.ledger.source.blob(chunk_name(&chunk.hash));
            let bytes = stage.services.blobs.get(&blob, None).await;
            if !bytes.is_ok_and(|bytes| crc64(&bytes) == chunk.crc64()) {
                wrong(stage, format!("{image} can't be had whole: {blob}"));
            }
        }
    }
}

/// A VHD with the footer of its version is whole.
async fn judge_blob(stage: &Stage, blob: &BlobAddress) {
    let properties = stage.services.blobs.properties(blob).await.unwrap();
    let digest = properties.and_then(|properties| properties.metadata.get(VhdMetadata::DIGEST)?.parse::<Digest>().ok());
    let Some(manifest) = digest.and_then(|digest| stage.ledger.manifest(digest)) else { return };
    if has_footer(stage, blob, manifest).await && !stage.ledger.model.is_whole(blob, manifest) {
        wrong(stage, format!("{blob} looks whole and is not"));
    }
}

async fn has_footer(stage: &Stage, blob: &BlobAddress, manifest: &Manifest) -> bool {
    let footer = manifest.size..manifest.size + manifest.footer.len() as u64;
    let found = stage.services.blobs.get(blob, Some(footer)).await;
    found.is_ok_and(|found| found[..] == manifest.footer[..])
}

/// What was put aside failed once.
async fn judge_poison(stage: &Stage) {
    loop {
        let messages = stage.services.queue.receive(QueueName::Poison, 32, Duration::from_secs(1 << 20)).await.unwrap();
        if messages.is_empty() {
            return;
        }
        for message in messages {
            let decoded = Message::decode(&message.body).ok();
            let failed = decoded.and_then(|message| Some((message.job, message.operation?)));
            let known = failed.is_some_and(|failed| stage.ledger.kept.lock().unwrap().failed.contains(&failed));
            if !known {
                wrong(stage, format!("a message was put aside without a reason: {}", message.body));
            }
        }
    }
}
