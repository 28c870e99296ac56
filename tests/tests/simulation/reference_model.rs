//! The effects so far, and checks that each of them was allowed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use goldfleet_kinds::context::read_spec;
use goldfleet_kinds::copy::CopySpec;
use goldfleet_kinds::image::ImageSpec;
use goldfleet_model::artifact::{ARTIFACTS, ArtifactRecord, LoadedVersion, artifact_name};
use goldfleet_model::event::Event;
use goldfleet_model::ids::JobId;
use goldfleet_model::image::{ImageRef, ImageTags, VhdNames};
use goldfleet_model::job::Job;
use goldfleet_model::manifest::{Digest, MANIFESTS, Manifest, chunk_name, digest_of, manifest_name};
use goldfleet_model::operation::{Operation, OperationId};
use goldfleet_model::resource::{ResourceBody, ResourceId};
use goldfleet_model::store::{BlobAddress, Container};
use goldfleet_modelled::Model;
use goldfleet_ports::clock::{Clock, after};
use tokio::time::Instant;
use uuid::Uuid;

use crate::faults::FaultInjector;
use crate::observer::Effect;
use crate::rules;

/// Longer than any command is frozen.
const LONG: Duration = Duration::from_secs(3000);

/// The reference model of a simulation.
pub(crate) struct ReferenceModel {
    pub(crate) faults: Arc<FaultInjector>,
    pub(crate) model: Arc<Model>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) source: Container,
    /// The maximum difference between the clocks of two processes.
    pub(crate) clock_skew: Duration,
    /// All versions that are uploaded at any time.
    pub(crate) versions: Vec<Arc<LoadedVersion>>,
    pub(crate) kept: Mutex<ReferenceState>,
}

/// The state that results from the effects so far.
#[derive(Default)]
pub(crate) struct ReferenceState {
    pub(crate) jobs: BTreeMap<JobId, Job>,
    pub(crate) operations: BTreeMap<(JobId, OperationId), Operation>,
    pub(crate) images: BTreeMap<ResourceId, ResourceBody>,
    /// Operations that ever failed permanently.
    pub(crate) failed: BTreeSet<(JobId, OperationId)>,
    /// The artifact records in the source store.
    records: BTreeMap<String, (Arc<LoadedVersion>, Instant)>,
    /// The versions that ever existed.
    seen: BTreeSet<Digest>,
    tokens: BTreeSet<Uuid>,
    /// Chunks with wrong content.
    pub(crate) corrupted: BTreeSet<BlobAddress>,
    /// Blobs that must not be changed.
    pub(crate) foreign: BTreeSet<BlobAddress>,
}

impl ReferenceModel {
    /// The manifest with this digest.
    pub(crate) fn manifest(&self, digest: Digest) -> Option<&Manifest> {
        let mut disks = self.versions.iter().flat_map(|version| version.disks());
        disks.find(|(disk, _)| disk.disk.manifest == digest).map(|(_, manifest)| manifest)
    }

    /// The versions that exist now.
    pub(crate) fn present(&self) -> Vec<Arc<LoadedVersion>> {
        let kept = self.kept.lock().unwrap();
        kept.records.values().map(|(version, _)| Arc::clone(version)).collect()
    }

    /// Whether the version existed with other content too. The results of this content may have been replaced then.
    pub(crate) fn has_twin(&self, image: &ImageRef) -> bool {
        let kept = self.kept.lock().unwrap();
        let twin = |other: &&ImageRef| {
            (&other.name, &other.version) == (&image.name, &image.version) && other.digest != image.digest
        };
        self.versions.iter().map(|version| &version.image).filter(twin).any(|other| kept.seen.contains(&other.digest))
    }

    /// Records an effect of a process.
    pub(crate) fn record_effect(&self, process: &str, effect: Effect, answer: Option<bool>) {
        let mut kept = self.kept.lock().unwrap();
        match effect {
            Effect::Jobs(job, events) => self.job(&mut kept, process, *job, &events),
            Effect::Inserted(operations) => {
                for operation in operations {
                    Self::inserted(&mut kept, operation);
                }
            }
            Effect::Replanned(job, plan) => kept.operations.retain(|(of, _), row| *of != job || row.plan >= plan),
            Effect::Changed(changes, events) => {
                for change in changes {
                    self.operation(&mut kept, process, change.operation, &events);
                }
            }
            Effect::Written(blob, body) => self.written(&mut kept, &blob, body.as_deref()),
            Effect::Deleted(blob) if answer == Some(true) => self.deleted(&mut kept, process, &blob),
            Effect::Deleted(_) => {}
            Effect::ImagePut(request) => {
                self.faults.trace.line(format_args!("{process} makes image {}", request.id.name));
                kept.images.insert(request.id, request.body);
            }
            Effect::ImageDeleted(id) => drop(kept.images.remove(&id)),
        }
    }

    /// Records an inserted operation, which replaces a row of an earlier planning attempt.
    fn inserted(kept: &mut ReferenceState, operation: Operation) {
        let key = (operation.job.clone(), operation.id.clone());
        let is_newer = kept.operations.get(&key).is_none_or(|row| row.plan < operation.plan);
        if is_newer {
            kept.operations.insert(key, operation);
        }
    }

    fn job(&self, kept: &mut ReferenceState, process: &str, job: Job, events: &[Event]) {
        let before = kept.jobs.get(&job.id).map(|job| job.state);
        for event in events {
            let (id, what) = (&job.id, &event.what);
            self.faults.trace.line(format_args!("{process}: job {id} {what}, {} to {}", event.from, event.to));
        }
        if let Some(before) = before
            && let Err(why) = rules::job(before, job.state, events)
        {
            self.faults.trace.record_violation(format_args!("{process} took job {} {why}", job.id));
        }
        kept.jobs.insert(job.id.clone(), job);
    }

    fn operation(&self, kept: &mut ReferenceState, process: &str, operation: Operation, all: &[Event]) {
        let key = (operation.job.clone(), operation.id.clone());
        let events: Vec<&Event> = all.iter().filter(|event| event.operation.as_ref() == Some(&key.1)).collect();
        for event in &events {
            let why = event.why.as_deref().unwrap_or_default();
            let (id, what, from, to) = (&key.1, &event.what, &event.from, &event.to);
            self.faults.trace.line(format_args!("{process}: {} {id} {what}, {from} to {to} {why}", key.0));
        }
        let now = after(self.clock.now(), self.clock_skew);
        let Some(before) = kept.operations.get(&key) else {
            return self
                .faults
                .trace
                .record_violation(format_args!("{process} wrote a row that was never made: {}", key.1));
        };
        for why in rules::operation(before, &operation, &events, process, now) {
            self.faults.trace.record_violation(format_args!("{process} wrote {} {}: {why}", key.0, key.1));
        }
        for event in events {
            match (event.what.as_str(), &operation.lease) {
                ("claim", Some(lease)) if !kept.tokens.insert(lease.token) => {
                    self.faults.trace.record_violation("a lease's token was used twice");
                }
                ("succeed", _) => self.succeeded(kept, &operation),
                ("fail", _) => drop(kept.failed.insert(key.clone())),
                _ => {}
            }
        }
        kept.operations.insert(key, operation);
    }

    /// Checks that the effect of a succeeded operation exists.
    fn succeeded(&self, kept: &ReferenceState, operation: &Operation) {
        let (Some(target), Some(image)) = (operation.target(), &operation.image) else { return };
        match operation.kind.as_str() {
            "copy" => {
                let CopySpec { disk, .. } = read_spec(operation).unwrap();
                let Some(manifest) = self.manifest(disk.manifest) else { return };
                let vhd = target.staging().blob(VhdNames::Flat.name(&image.name, &image.version, disk.role));
                if !self.model.is_whole(&vhd, manifest) {
                    self.faults.trace.record_violation(format_args!("{vhd} is said to be done, and is not whole"));
                }
            }
            "image" => {
                let ImageSpec { name, .. } = read_spec(operation).unwrap();
                let id = target.image(name.clone());
                if !self.has_image(kept, &id, operation) {
                    self.faults.trace.record_violation(format_args!("image {name} is said to be made, and is not"));
                }
            }
            _ => {}
        }
    }

    /// Whether an image with the expected region and digest exists.
    pub(crate) fn has_image(&self, kept: &ReferenceState, id: &ResourceId, operation: &Operation) -> bool {
        let (Some(target), Some(wanted)) = (operation.target(), &operation.image) else { return false };
        kept.images.get(id).is_some_and(|image| {
            ImageTags::digest_in(&image.tags) == Some(wanted.digest)
                && ImageTags::version_in(&image.tags) == wanted.to_string()
                && image.region == target.region
        })
    }

    fn written(&self, kept: &mut ReferenceState, blob: &BlobAddress, body: Option<&[u8]>) {
        kept.corrupted.remove(blob);
        if blob.container != self.source {
            return;
        }
        let body = body.unwrap_or_default();
        if blob.name.starts_with(MANIFESTS) && self.manifest(digest_of(body)).is_none() {
            self.faults.trace.record_violation(format_args!("{blob} is of no version"));
        }
        if !blob.name.starts_with(ARTIFACTS) {
            return;
        }
        let digest = ArtifactRecord::decode(body).map(|record| record.artifact.digest());
        let of_version = |version: &&Arc<LoadedVersion>| {
            let ImageRef { name, version, digest: wanted } = &version.image;
            digest.as_ref() == Ok(wanted) && artifact_name(name, version) == blob.name
        };
        match self.versions.iter().find(of_version) {
            Some(version) => {
                self.faults.trace.line(format_args!("{} is there", version.image));
                kept.records.insert(blob.name.clone(), (Arc::clone(version), Instant::now()));
                kept.seen.insert(version.image.digest);
            }
            None => self.faults.trace.record_violation(format_args!("{blob} is of no version")),
        }
    }

    fn deleted(&self, kept: &mut ReferenceState, process: &str, blob: &BlobAddress) {
        self.faults.trace.line(format_args!("{process} has deleted {blob}"));
        kept.records.remove(&blob.name);
        if kept.foreign.contains(blob) {
            self.faults
                .trace
                .record_violation(format_args!("{process} deleted {blob}, which is none of goldfleet's business"));
        }
        if kept.corrupted.remove(blob) {
            return;
        }
        // In the source store, chunks on which an upload that has just ended relies must be kept. In other stores,
        // nothing may rely on them yet.
        let since = if blob.container == self.source { Duration::ZERO } else { LONG };
        let names = |(version, written): &(Arc<LoadedVersion>, Instant)| {
            written.elapsed() >= since && blobs_of(version).any(|name| name == blob.name)
        };
        if kept.records.values().any(names) {
            self.faults.trace.record_violation(format_args!("{process} deleted {blob}, which a version needs"));
        }
    }
}

/// The names of the manifests and chunks of a version in the source store.
fn blobs_of(version: &LoadedVersion) -> impl Iterator<Item = String> {
    let ImageRef { name, version: number, .. } = &version.image;
    let manifests = version.artifact.disks.iter().map(|disk| manifest_name(name, number, &disk.disk.manifest));
    manifests.chain(version.chunks().map(|chunk| chunk_name(&chunk.hash)))
}
