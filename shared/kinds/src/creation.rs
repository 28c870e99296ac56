//! Resources that a row creates once and never updates: a machine, and the image of a machine.

use async_trait::async_trait;
use goldfleet_model::resource::{ResourceBody, ResourceId};
use goldfleet_ports::Ports;
use goldfleet_ports::error::PortResult;
use goldfleet_ports::resources::{Provisioning, Resource};
use goldfleet_snapshots::tags::{self, Role};
use serde_json::Value;

use crate::attempt_error::AttemptError;
use crate::change::{self, Changed, later, read_body, vanished};
use crate::context::Attempt;
use crate::kind::Probe;
use crate::outcome::{StepError, StepOutcome, StepResult};

/// A resource that a row creates.
#[async_trait]
pub(crate) trait Creation: Sync {
    /// Its id.
    fn id(&self) -> &ResourceId;

    /// The body of the request for it.
    fn body(&self) -> &ResourceBody;

    /// Checks the sources of the resource. Returns an outcome if they are not complete yet.
    async fn prepare(&self, attempt: Attempt<'_>) -> Result<Option<StepOutcome>, StepError>;

    /// The result if it exists.
    async fn found(&self, attempt: Attempt<'_>, found: &Resource) -> StepResult;

    /// Whether a resource has the tags of goldfleet that the row sets.
    fn is_same(&self, found: &Resource) -> bool {
        tags::has_reserved(&found.body.tags, &self.body().tags)
    }

    /// Whether a resource has this role, and belongs to the fleet and job of the row.
    fn is_of_job(&self, found: &Resource, role: Role) -> bool {
        Role::in_tags(&found.body.tags) == Some(role)
            && tags::agree(&found.body.tags, &self.body().tags, &[tags::FLEET, tags::JOB])
    }

    /// An error that a retry does not solve.
    fn fatal(&self, code: &str, reason: impl std::fmt::Display) -> StepError
    where
        Self: Sized,
    {
        AttemptError::fatal(code, format!("{}: {reason}", self.id())).into()
    }
}

/// Reads the body of a request from a row. `noun` names the resource for messages, with its article, and `is_valid`
/// checks that the body is of that type.
pub(crate) fn read(
    id: &ResourceId,
    body: &Value,
    noun: &str,
    is_valid: impl Fn(&ResourceBody) -> bool,
) -> Result<ResourceBody, AttemptError> {
    let body = read_body(id, body)?;
    let has_tags = [tags::FLEET, tags::ROLE, tags::JOB, tags::SOURCE].iter().all(|name| body.tags.contains_key(*name));
    if !has_tags || !is_valid(&body) {
        let message = format!("the body of {id} in the row is not that of {noun} with tags that identify it");
        return Err(AttemptError::fatal("row-damaged", message));
    }
    Ok(body)
}

/// What exists of a resource.
pub(crate) async fn probe(ports: &Ports, creation: &impl Creation) -> PortResult<Probe> {
    Ok(match ports.resources.get(creation.id(), None).await? {
        None => Probe::Absent,
        Some(found) if !creation.is_same(&found) => Probe::Foreign,
        Some(found) => match found.provisioning {
            Provisioning::Succeeded => Probe::Done,
            Provisioning::InProgress => Probe::Underway,
            Provisioning::Failed => Probe::Stale,
        },
    })
}

/// Creates a resource, or finds it.
pub(crate) async fn run(attempt: Attempt<'_>, creation: &impl Creation) -> StepResult {
    let mut is_requested = false;
    loop {
        let Some(found) = attempt.shared.ports.resources.get(creation.id(), None).await? else {
            if is_requested {
                return Err(vanished(creation.id()));
            }
            is_requested = true;
            if let Some(wait) = creation.prepare(attempt).await? {
                return Ok(wait);
            }
            match change::create(attempt, creation.id(), creation.body().clone()).await? {
                Changed::Later(error) => return Ok(later(attempt, &error)),
                Changed::Yes | Changed::NameTaken => continue,
            }
        };
        return creation.found(attempt, &found).await;
    }
}
