//! The properties that must hold at the end of every simulation.

use std::collections::BTreeMap;

use bytes::Bytes;
use goldfleet_config::StagedPolicy;
use goldfleet_config::targets::TargetsFile;
use goldfleet_dispatcher::control::context::ControlContext;
use goldfleet_dispatcher::control::status::{ReportedState, status};
use goldfleet_kinds::context::read_spec;
use goldfleet_kinds::image::ImageSpec;
use goldfleet_model::checksum::crc64;
use goldfleet_model::image::{ImageRef, VhdMetadata};
use goldfleet_model::job::{Job, JobState};
use goldfleet_model::manifest::{Digest, Manifest, chunk_name};
use goldfleet_model::message::{Message, QueueName};
use goldfleet_model::operation::{Operation, OperationState};
use goldfleet_model::store::{BlobAddress, Container, Store};
use goldfleet_model::target::Target;
use goldfleet_tests::fleet::staged_vhd;
use std::time::Duration;

use crate::fleet::SimFleet;
use crate::golden::SIZE;

/// Creates foreign blobs where goldfleet works.
pub(crate) async fn put_foreign(fleet: &SimFleet) {
    let blobs = &fleet.services.blobs;
    for container in containers(fleet) {
        blobs.ensure_container(&container).await.unwrap();
        let (note, disk) = (container.blob("golden__notes.txt"), container.blob("golden__0.vhd"));
        blobs.put_blob(&note, Bytes::from_static(b"ours"), crc64(b"ours").into()).await.unwrap();
        // It has the size of a golden disk, so that it might be mistaken for an earlier version.
        blobs.create_page_blob(&disk, SIZE + 512, &BTreeMap::new()).await.unwrap();
        fleet.reference.kept.lock().unwrap().foreign.extend([note, disk]);
    }
}

/// The containers of the source and of all targets.
fn containers(fleet: &SimFleet) -> Vec<Container> {
    let file = TargetsFile::load(&fleet.config.targets.file).unwrap();
    let mut containers: Vec<Container> = file.targets.iter().map(Target::staging).collect();
    containers.extend(file.stores.iter().map(Store::container));
    containers.push(fleet.reference.source.clone());
    containers.sort();
    containers.dedup();
    containers
}

/// The image version of a job. All jobs of the simulation have one.
pub(crate) fn image_of(job: &Job) -> &ImageRef {
    job.image().unwrap()
}

/// Checks all invariants.
pub(crate) async fn check_invariants(fleet: &SimFleet) {
    let jobs: Vec<Job> = fleet.reference.kept.lock().unwrap().jobs.values().cloned().collect();
    // A job whose version was replaced by other content fails permanently.
    for job in jobs.iter().filter(|job| !fleet.reference.has_twin(image_of(job))) {
        check_job(fleet, job).await;
    }
    check_locations(fleet).await;
    check_dead_letters(fleet).await;
}

fn wrong(fleet: &SimFleet, what: String) {
    fleet.faults.trace.record_violation(what);
}

async fn check_job(fleet: &SimFleet, job: &Job) {
    let control = ControlContext::new(fleet.services.clone(), std::sync::Arc::clone(&fleet.config), "judge");
    let row = control.jobs.job(&job.id).await.unwrap().value;
    let rows = fleet.services.table.operations(&job.id).await.unwrap();
    if &row != job {
        wrong(fleet, format!("job {} is another than what was written", job.id));
    }
    let status = status(&control.jobs, &row).await.unwrap();
    // Rows of another planning attempt are not part of the job.
    let rows: Vec<_> = rows.into_iter().filter(|operation| operation.value.plan == row.plan).collect();
    if row.operations.is_some_and(|planned| planned != rows.len() as u64) {
        wrong(fleet, format!("job {} has {} operations, and {:?} were planned", job.id, rows.len(), row.operations));
    }
    let all_done = rows.iter().all(|row| is_done(row.value.state));
    // A job whose planning was not completed is requested again, not retried.
    if row.operations.is_some()
        && (row.state != JobState::Succeeded || status.state != ReportedState::Succeeded || !all_done)
    {
        let states: Vec<String> = rows.iter().map(|row| format!("{} {}", row.value.id, row.value.state)).collect();
        wrong(fleet, format!("job {} is {} and shown as {:?}: {states:?}", job.id, row.state, status.state));
    }
    for (kind, phase) in status.phases.named() {
        let of_kind = || rows.iter().filter(|row| row.value.kind == *kind).map(|row| row.value.state);
        let count = |wanted: OperationState| of_kind().filter(|state| *state == wanted).count();
        let (succeeded, skipped) = (count(OperationState::Succeeded), count(OperationState::Skipped));
        if (phase.total, phase.succeeded, phase.skipped) != (of_kind().count(), succeeded, skipped) {
            wrong(fleet, format!("job {}: {kind} is shown as {phase:?}", job.id));
        }
    }
    if row.operations.is_none() && !matches!(row.state, JobState::Failed | JobState::Cancelled) {
        wrong(fleet, format!("job {} was never planned and is {}", job.id, row.state));
    }
    for row in &rows {
        check_operation(fleet, &row.value).await;
    }
}

fn is_done(state: OperationState) -> bool {
    matches!(state, OperationState::Succeeded | OperationState::Skipped)
}

/// Checks that the effect of a completed operation exists.
async fn check_operation(fleet: &SimFleet, operation: &Operation) {
    let (Some(target), Some(image)) = (operation.target(), &operation.image) else { return };
    match operation.kind.as_str() {
        "image" if is_done(operation.state) => {
            let ImageSpec { name, .. } = read_spec(operation).unwrap();
            let id = target.image(name.clone());
            let found = fleet.services.resources.get(&id, None).await.unwrap();
            if !found.is_some_and(|found| found.was_created_from(image.digest, &target.region)) {
                wrong(fleet, format!("{name} is not the image of {image}"));
            }
            let has = fleet.reference.has_image(&fleet.reference.kept.lock().unwrap(), &id, operation);
            if !has {
                wrong(fleet, format!("{name} has other tags than those of {image}"));
            }
        }
        "copy" if operation.state == OperationState::Succeeded => {
            let vhd = staged_vhd(&fleet.services, operation);
            let there = fleet.services.blobs.properties(&vhd).await.unwrap().is_some();
            let may_be_gone = fleet.config.cleanup.staged == StagedPolicy::Remove || fleet.cleaned(image);
            if !there && !may_be_gone {
                wrong(fleet, format!("{vhd} is gone"));
            }
        }
        _ => {}
    }
}

/// Checks the content of stores and staging containers.
async fn check_locations(fleet: &SimFleet) {
    for container in containers(fleet) {
        let mut marker = None;
        loop {
            let page = fleet.services.blobs.list(&container, "", marker.as_deref()).await.unwrap();
            for blob in &page.blobs {
                check_blob(fleet, &container.blob(blob.name.as_str())).await;
            }
            marker = page.next;
            if marker.is_none() {
                break;
            }
        }
    }
    let foreign: Vec<BlobAddress> = fleet.reference.kept.lock().unwrap().foreign.iter().cloned().collect();
    for blob in foreign {
        if fleet.services.blobs.properties(&blob).await.unwrap().is_none() {
            wrong(fleet, format!("{blob} is gone, which is none of goldfleet's business"));
        }
    }
    for version in fleet.reference.present() {
        let image = &version.image;
        for chunk in version.chunks() {
            let blob = fleet.reference.source.blob(chunk_name(&chunk.hash));
            let bytes = fleet.services.blobs.get(&blob, None).await;
            if !bytes.is_ok_and(|bytes| crc64(&bytes) == chunk.crc64()) {
                wrong(fleet, format!("{image} cannot be had whole: {blob}"));
            }
        }
    }
}

/// Checks that a VHD with the footer of its version is complete.
async fn check_blob(fleet: &SimFleet, blob: &BlobAddress) {
    let properties = fleet.services.blobs.properties(blob).await.unwrap();
    let digest = properties.and_then(|properties| properties.metadata.get(VhdMetadata::DIGEST)?.parse::<Digest>().ok());
    let Some(manifest) = digest.and_then(|digest| fleet.reference.manifest(digest)) else { return };
    if has_footer(fleet, blob, manifest).await && !fleet.reference.model.is_whole(blob, manifest) {
        wrong(fleet, format!("{blob} looks whole and is not"));
    }
}

async fn has_footer(fleet: &SimFleet, blob: &BlobAddress, manifest: &Manifest) -> bool {
    let footer = manifest.size..manifest.size + manifest.footer.len() as u64;
    let found = fleet.services.blobs.get(blob, Some(footer)).await;
    found.is_ok_and(|found| found[..] == manifest.footer[..])
}

/// Checks that the operations of dead letters have failed.
async fn check_dead_letters(fleet: &SimFleet) {
    loop {
        let messages =
            fleet.services.queue.receive(QueueName::DeadLetter, 32, Duration::from_secs(1 << 20)).await.unwrap();
        if messages.is_empty() {
            return;
        }
        for message in messages {
            let decoded = Message::decode(&message.body).ok();
            let failed = decoded.and_then(|message| Some((message.job, message.operation?)));
            let known = failed.is_some_and(|failed| fleet.reference.kept.lock().unwrap().failed.contains(&failed));
            if !known {
                wrong(fleet, format!("a message was put aside without a reason: {}", message.body));
            }
        }
    }
}
