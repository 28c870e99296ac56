//! The image definition of a version.

use goldfleet_galleries::spec::PublishSpec;
use goldfleet_ports::error::ErrorKind;
use goldfleet_ports::resources::emulation::galleries::changed_property;

use crate::attempt_error::AttemptError;
use crate::change::{self, Changed, later};
use crate::context::Attempt;
use crate::outcome::{StepError, StepOutcome};

/// Creates the definition, if it is missing and the row permits that. Rejects an existing one that differs in a
/// property that cannot be changed. Returns an outcome if the request must be sent later.
pub(super) async fn ensure(attempt: Attempt<'_>, spec: &PublishSpec) -> Result<Option<StepOutcome>, StepError> {
    let id = spec.definition_id();
    let wanted = spec.definition_body();
    let wanted = wanted.map_err(|error| AttemptError::fatal("row-damaged", format!("the body of {id}: {error}")))?;
    let resources = &attempt.shared.ports.resources;
    for is_last in [false, true] {
        let Some(found) = resources.get(&id, None).await? else {
            if !spec.create_definition {
                let message = format!(
                    "there is no image definition {id}: create it, or set create_definition = true for the gallery"
                );
                return Err(AttemptError::fatal("definition-missing", message).into());
            }
            if is_last {
                break;
            }
            match change::create(attempt, &id, wanted.clone()).await {
                Err(StepError::Failed(error)) if error.code == "parent-resource-not-found" => {
                    return Err(AttemptError { code: "gallery-missing".to_owned(), ..error }.into());
                }
                Ok(Changed::Later(error)) if error.kind == ErrorKind::Conflict => {
                    return Ok(Some(later(attempt, &error)));
                }
                created => drop(created?),
            }
            continue;
        };
        let properties = found.body.properties.definition().zip(wanted.properties.definition());
        let Some(name) = properties.and_then(|(found, wanted)| changed_property(found, wanted)) else {
            return Ok(None);
        };
        return Err(differs(spec, name).into());
    }
    Err(change::vanished(&id))
}

/// The error for a definition that differs in a property that cannot be changed.
fn differs(spec: &PublishSpec, property: &str) -> AttemptError {
    let message = format!(
        "image definition {} has another {property} than the configuration of the gallery, and it cannot be changed: change \
         the configuration, or name another definition",
        spec.definition_id()
    );
    AttemptError::fatal("definition-differs", message)
}
