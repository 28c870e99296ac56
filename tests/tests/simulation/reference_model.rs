//! What has come about so far, and whether each step of it was allowed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use goldfleet_kinds::context::read_spec;
use goldfleet_kinds::image::ImageSpec;
use goldfleet_model::event::Event;
use goldfleet_model::ids::JobId;
use goldfleet_model::image::{ImageRef, ImageTags, ManagedImageId, ManagedImageSpec, VhdNames};
use goldfleet_model::job::Job;
use goldfleet_model::manifest::{Digest, Manifest, chunk_name, digest_of};
use goldfleet_model::operation::{Operation, OperationId};
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
    /// How far clocks of two processes may be apart.
    pub(crate) clock_skew: Duration,
    /// Every version that is ever uploaded.
    pub(crate) versions: Vec<(ImageRef, Arc<Manifest>)>,
    pub(crate) kept: Mutex<ReferenceState>,
}

/// The state that the effects so far amount to.
#[derive(Default)]
pub(crate) struct ReferenceState {
    pub(crate) jobs: BTreeMap<JobId, Job>,
    pub(crate) operations: BTreeMap<(JobId, OperationId), Operation>,
    pub(crate) images: BTreeMap<String, ManagedImageSpec>,
    /// Operations that ever failed for good.
    pub(crate) failed: BTreeSet<(JobId, OperationId)>,
    /// The manifests that are in the source store.
    manifests: BTreeMap<String, (ImageRef, Arc<Manifest>, Instant)>,
    /// The versions that ever were there.
    seen: BTreeSet<Digest>,
    tokens: BTreeSet<Uuid>,
    /// Chunks with other bytes than they should have.
    pub(crate) corrupted: BTreeSet<BlobAddress>,
    /// Blobs that nobody may touch.
    pub(crate) foreign: BTreeSet<BlobAddress>,
}

impl ReferenceModel {
    pub(crate) fn manifest(&self, digest: Digest) -> Option<&Arc<Manifest>> {
        self.versions.iter().find(|(image, _)| image.digest == digest).map(|(_, manifest)| manifest)
    }

    /// The versions that can be had.
    pub(crate) fn present(&self) -> Vec<(ImageRef, Arc<Manifest>)> {
        let kept = self.kept.lock().unwrap();
        kept.manifests.values().map(|(image, manifest, _)| (image.clone(), Arc::clone(manifest))).collect()
    }

    /// Whether a version was there with other content too: then what was made of this content may have been replaced.
    pub(crate) fn has_twin(&self, image: &ImageRef) -> bool {
        let kept = self.kept.lock().unwrap();
        let twin = |(other, _): &&(ImageRef, Arc<Manifest>)| {
            (&other.name, &other.version) == (&image.name, &image.version) && other.digest != image.digest
        };
        self.versions.iter().filter(twin).any(|(other, _)| kept.seen.contains(&other.digest))
    }

    /// Takes down an effect that a process has just had.
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
            Effect::ImagePut(spec) => {
                self.faults.trace.line(format_args!("{process} makes image {}", spec.id.name));
                kept.images.insert(key(&spec.id), *spec);
            }
            Effect::ImageDeleted(id) => drop(kept.images.remove(&key(&id))),
        }
    }

    /// A row of an earlier planning attempt is replaced.
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

    /// What is said to be done is there.
    fn succeeded(&self, kept: &ReferenceState, operation: &Operation) {
        let Some(manifest) = self.manifest(operation.image.digest) else { return };
        let Some(target) = operation.target() else { return };
        match operation.kind.as_str() {
            "copy" => {
                let vhd = target.staging().blob(VhdNames::Flat.name(&operation.image));
                if !self.model.is_whole(&vhd, manifest) {
                    self.faults.trace.record_violation(format_args!("{vhd} is said to be done, and is not whole"));
                }
            }
            "image" => {
                let ImageSpec { name, .. } = read_spec(operation).unwrap();
                let (subscription, resource_group) = (target.subscription, target.resource_group.clone());
                let id = ManagedImageId { subscription, resource_group, name: name.clone() };
                if !self.has_image(kept, &id, operation) {
                    self.faults.trace.record_violation(format_args!("image {name} is said to be made, and is not"));
                }
            }
            _ => {}
        }
    }

    /// Whether there is an image with the region and digest that it should have.
    pub(crate) fn has_image(&self, kept: &ReferenceState, id: &ManagedImageId, operation: &Operation) -> bool {
        let target = operation.target();
        kept.images.get(&key(id)).is_some_and(|image| {
            ImageTags::digest_in(&image.tags) == Some(operation.image.digest)
                && ImageTags::version_in(&image.tags) == operation.image.to_string()
                && Some(&image.region) == target.map(|target| &target.region)
        })
    }

    fn written(&self, kept: &mut ReferenceState, blob: &BlobAddress, body: Option<&[u8]>) {
        kept.corrupted.remove(blob);
        if blob.container != self.source || !blob.name.starts_with("manifests/") {
            return;
        }
        let digest = digest_of(body.unwrap_or_default());
        match self.versions.iter().find(|(image, _)| image.digest == digest) {
            Some((image, manifest)) => {
                self.faults.trace.line(format_args!("{image} is there"));
                kept.manifests.insert(blob.name.clone(), (image.clone(), Arc::clone(manifest), Instant::now()));
                kept.seen.insert(image.digest);
            }
            None => self.faults.trace.record_violation(format_args!("{blob} is none of any version's")),
        }
    }

    fn deleted(&self, kept: &mut ReferenceState, process: &str, blob: &BlobAddress) {
        self.faults.trace.line(format_args!("{process} has deleted {blob}"));
        kept.manifests.remove(&blob.name);
        if kept.foreign.contains(blob) {
            self.faults
                .trace
                .record_violation(format_args!("{process} deleted {blob}, which is none of goldfleet's business"));
        }
        if kept.corrupted.remove(blob) {
            return;
        }
        // In the source, what an upload that has just ended relies on stays too; elsewhere nobody may have relied on it yet.
        let since = if blob.container == self.source { Duration::ZERO } else { LONG };
        let names = |(_, manifest, written): &(ImageRef, Arc<Manifest>, Instant)| {
            written.elapsed() >= since && manifest.chunks.iter().any(|chunk| chunk_name(&chunk.hash) == blob.name)
        };
        if kept.manifests.values().any(names) {
            self.faults.trace.record_violation(format_args!("{process} deleted {blob}, which a manifest names"));
        }
    }
}

/// Names of images do not heed case.
pub(crate) fn key(id: &ManagedImageId) -> String {
    id.to_string().to_lowercase()
}
