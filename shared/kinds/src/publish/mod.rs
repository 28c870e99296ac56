//! The kind `publish`: creates a gallery version from a snapshot, and waits until it is ready in all wanted regions.
//!
//! A version is created with `excludeFromLatest`, and `goldfleet promote` ends that. A region that cannot replicate
//! does not delay the others: it is removed and added again once. If it fails again, the operation fails after all
//! others are ready.

mod definition;
pub mod pass;
pub mod record;
mod trial;

use std::collections::BTreeMap;

use async_trait::async_trait;
use goldfleet_galleries::converge::{self, Existing, Reported};
use goldfleet_galleries::spec::PublishSpec;
use goldfleet_model::document::Document;
use goldfleet_model::image::ImageTags;
use goldfleet_model::message::QueueName;
use goldfleet_model::operation::Operation;
use goldfleet_model::resource::{ResourceId, region_named, tag};
use goldfleet_ports::Ports;
use goldfleet_ports::error::{ErrorKind, PortResult};
use goldfleet_ports::resources::{ChangeStatus, PutMode, PutRequest};
use goldfleet_snapshots::tags;
use serde::{Deserialize, Serialize};

use self::pass::{Passed, RegionState, Report, Watch, pass};
use crate::attempt_error::AttemptError;
use crate::change::{later, must_wait, poll_delay, vanished};
use crate::context::{Attempt, read_spec};
use crate::disk::{Content, content};
use crate::kind::{Kind, Probe};
use crate::outcome::{StepError, StepOutcome, StepResult};
use crate::snapshot::TEMPORARY_MISSING;

/// The largest number of characters of a reason in the output. The output of an operation has at most 4 KiB.
const MAX_REASON: usize = 60;

/// The code of a version whose name a soft-deleted version still has.
pub const SOFT_DELETED: &str = "version-soft-deleted";

/// The kind `publish`.
pub struct Publish;

/// The output: the state of the regions when it was last written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct PublishOutput {
    /// The state of each wanted region, for people.
    regions: BTreeMap<String, String>,
    /// The regions that others have added. They are kept.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    foreign: Vec<String>,
    /// The regions that were removed and added again since the operation was last started.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    again: Vec<String>,
}

impl PublishOutput {
    fn of(operation: &Operation) -> Self {
        operation.output.as_ref().and_then(|output| output.read(1).ok()).unwrap_or_default()
    }

    fn set(&mut self, report: &Report) {
        let text = |state: &RegionState| match state {
            RegionState::Missing => "requested".to_owned(),
            RegionState::Replicating(percent) => format!("replicating {percent}%"),
            RegionState::Completed => "replicated, not usable yet".to_owned(),
            RegionState::Ready => "ready".to_owned(),
            RegionState::Failed(reason) | RegionState::Unusable(reason) => {
                format!("failed: {}", reason.chars().take(MAX_REASON).collect::<String>())
            }
        };
        self.regions = report.regions.iter().map(|(name, state)| (name.clone(), text(state))).collect();
        self.foreign.clone_from(&report.foreign);
    }

    async fn record(&self, attempt: Attempt<'_>) -> Result<(), StepError> {
        if *self == Self::of(attempt.operation) {
            return Ok(());
        }
        let output = Document::new(1, self).unwrap_or_default();
        Ok(attempt.lease.put_output(output).await?)
    }
}

#[async_trait]
impl Kind for Publish {
    fn id(&self) -> &'static str {
        "publish"
    }

    fn queue(&self) -> QueueName {
        QueueName::Image
    }

    fn title(&self) -> &'static str {
        "Gallery versions"
    }

    fn produces(&self, operation: &Operation) -> Option<String> {
        let spec: PublishSpec = read_spec(operation).ok()?;
        Some(spec.version.name.to_string())
    }

    fn delivers(&self) -> bool {
        true
    }

    fn lacks_input(&self, code: &str) -> bool {
        code == TEMPORARY_MISSING
    }

    fn remark(&self, operation: &Operation) -> Option<String> {
        let output = PublishOutput::of(operation);
        let kept = output.foreign.join(", ");
        (!kept.is_empty()).then(|| format!("others added regions to {}, which are kept: {kept}", self.name(operation)))
    }

    fn report(&self, operation: &Operation) -> Option<String> {
        let PublishOutput { regions, foreign, .. } = PublishOutput::of(operation);
        if regions.is_empty() {
            return None;
        }
        let states = regions.iter().map(|(name, state)| format!("{name} {state}"));
        let kept = foreign.iter().map(|name| format!("{name} foreign, kept"));
        Some(format!("{}: {}", self.name(operation), states.chain(kept).collect::<Vec<_>>().join("; ")))
    }

    async fn probe(&self, ports: &Ports, operation: &Operation) -> PortResult<Probe> {
        let Ok(spec) = read_spec::<PublishSpec>(operation) else { return Ok(Probe::Foreign) };
        let (Some(found), Ok(wanted)) = (ports.resources.get(&spec.version, None).await?, spec.version_body()) else {
            return Ok(Probe::Absent);
        };
        if converge::classify(spec.fleet, &spec.image, &found.body) != Existing::Same {
            return Ok(Probe::Foreign);
        }
        let ready =
            record::read(ports, &spec.version).await?.map(|publication| publication.ready()).unwrap_or_default();
        let (Some(wanted), Some(existing)) =
            (wanted.properties.gallery_version(), found.body.properties.gallery_version())
        else {
            return Ok(Probe::Foreign);
        };
        let is_ready =
            |name: &String| ready.contains(name) && converge::reported(existing, name) == Reported::Completed;
        let names = wanted.regions().iter().map(|region| region_named(&region.name));
        let all = names.collect::<Vec<_>>().iter().all(is_ready);
        Ok(if all { Probe::Done } else { Probe::Underway })
    }

    async fn run(&self, attempt: Attempt<'_>) -> Result<StepOutcome, StepError> {
        let spec: PublishSpec = attempt.spec()?;
        if let Some(wait) = definition::ensure(attempt, &spec).await? {
            return Ok(wait);
        }
        publish(attempt, &spec).await
    }
}

impl Publish {
    fn name(&self, operation: &Operation) -> String {
        self.produces(operation).unwrap_or_default()
    }
}

async fn publish(attempt: Attempt<'_>, spec: &PublishSpec) -> StepResult {
    let ensure = || attempt.lease.ensure_held();
    let watch = Watch { ports: &attempt.shared.ports, spec, ensure: &ensure, trials: true, take_out: None };
    let mut is_requested = false;
    loop {
        match pass(watch).await? {
            Passed::Later(error) => return Ok(later(attempt, &error)),
            Passed::Report(report) => return conclude(attempt, watch, &report).await,
            Passed::Absent if is_requested => return Err(vanished(&spec.version)),
            Passed::Absent => {
                is_requested = true;
                if let Some(wait) = create(attempt, spec).await? {
                    return Ok(wait);
                }
            }
        }
    }
}

/// Checks a snapshot from which the version is created. Returns whether its content is complete.
async fn is_complete(attempt: Attempt<'_>, spec: &PublishSpec, id: &ResourceId) -> Result<bool, StepError> {
    let fatal = |code, reason: &str| Err(AttemptError::fatal(code, format!("{id}: {reason}")).into());
    let Some(source) = attempt.shared.ports.resources.get(id, None).await? else {
        return fatal(TEMPORARY_MISSING, "the snapshot does not exist");
    };
    let is_own = tags::is_temporary_of(&source.body.tags, spec.fleet)
        && tag(&source.body.tags, tags::JOB) == Some(spec.job.as_str())
        && ImageTags::digest_in(&source.body.tags) == Some(spec.image.digest);
    match content(&source) {
        _ if !is_own => fatal("temporary-foreign", "it does not have the tags of this job and version"),
        Content::Arriving => Ok(false),
        Content::Failed(reason) => fatal("source-failed", &reason),
        Content::Complete => Ok(true),
    }
}

/// Rejects a version whose name a soft-deleted version still has. The content of that version is not known before it is
/// restored.
async fn ensure_not_kept(attempt: Attempt<'_>, spec: &PublishSpec) -> Result<(), StepError> {
    match attempt.shared.ports.resources.is_soft_deleted(&spec.version).await {
        Ok(false) => Ok(()),
        Ok(true) => {
            let message = format!("{}: a version of this name was deleted, and the gallery keeps it", spec.version);
            Err(AttemptError::fatal(SOFT_DELETED, message).into())
        }
        Err(error) if error.is_retryable() => Err(error.into()),
        // If this is not known, the service decides about the creation.
        Err(error) => {
            tracing::debug!(%error, code = error.code, "deleted versions are not listed");
            Ok(())
        }
    }
}

/// Requests the version. Returns an outcome if it must be requested later.
async fn create(attempt: Attempt<'_>, spec: &PublishSpec) -> Result<Option<StepOutcome>, StepError> {
    let resources = &attempt.shared.ports.resources;
    for id in spec.sources() {
        if !is_complete(attempt, spec, id).await? {
            return Ok(Some(StepOutcome::RequeueAfter(poll_delay(attempt, false))));
        }
    }
    ensure_not_kept(attempt, spec).await?;
    attempt.lease.ensure_held()?;
    let body = pass::wanted(spec)?;
    let request = PutRequest { id: spec.version.clone(), tenant: None, mode: PutMode::Create, body };
    match resources.put(&request).await {
        Ok(ChangeStatus::Done | ChangeStatus::Pending(_)) => Ok(None),
        Ok(ChangeStatus::Failed(error)) | Err(error) if error.kind == ErrorKind::AlreadyExists => {
            tracing::debug!(%error, "another process created the version");
            Ok(None)
        }
        Ok(ChangeStatus::Failed(error)) | Err(error) if must_wait(&error) => Ok(Some(later(attempt, &error))),
        Ok(ChangeStatus::Failed(error)) | Err(error) => Err(error.into()),
    }
}

/// Decides the outcome from the state of the regions.
async fn conclude(attempt: Attempt<'_>, watch: Watch<'_>, report: &Report) -> StepResult {
    let mut output = PublishOutput::of(attempt.operation);
    output.set(report);
    if report.is_ready() {
        output.record(attempt).await?;
        return Ok(StepOutcome::Done);
    }
    if report.goes_on || report.is_underway() {
        output.record(attempt).await?;
        return Ok(StepOutcome::RequeueAfter(poll_delay(attempt, !report.goes_on)));
    }
    let home = pass::wanted(watch.spec)?.region;
    let can_be_taken_out = |(name, state): (&String, &RegionState)| {
        let is_new = !output.again.contains(name) && *name != home.as_str();
        (is_new && matches!(state, RegionState::Failed(_))).then(|| name.clone())
    };
    let next = report.regions.iter().find_map(can_be_taken_out);
    if let Some(name) = next {
        tracing::warn!(version = %watch.spec.version, region = name, "the replication failed; the region is removed and added again");
        output.again.push(name.clone());
        output.record(attempt).await?;
        return match pass(Watch { take_out: Some(&name), ..watch }).await? {
            Passed::Later(error) => Ok(later(attempt, &error)),
            Passed::Absent | Passed::Report(_) => Ok(StepOutcome::RequeueAfter(poll_delay(attempt, false))),
        };
    }
    // A retry removes the failed regions again.
    output.again.clear();
    output.record(attempt).await?;
    let failed: Vec<String> = report.failed().map(|(name, reason)| format!("{name}: {reason}")).collect();
    let ready = report.regions.values().filter(|state| **state == RegionState::Ready).count();
    let message = format!(
        "{} is ready in {ready} of {} regions; {}",
        watch.spec.version,
        report.regions.len(),
        failed.join("; ")
    );
    Err(AttemptError::fatal("gallery-region-failed", message).into())
}
