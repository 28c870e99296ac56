//! Disks that are created from a restore point of the job.

use goldfleet_model::resource::ResourceBody;
use goldfleet_snapshots::graph::Restored;

use crate::attempt_error::AttemptError;
use crate::change::read_id;
use crate::context::Attempt;
use crate::outcome::StepError;
use crate::snapshot::TEMPORARY_MISSING;

/// The body with the id of the disk in the restore point, which is known only after the restore point was created.
pub(super) async fn body(
    attempt: Attempt<'_>,
    restored: &Restored,
    mut body: ResourceBody,
) -> Result<ResourceBody, StepError> {
    let point = read_id(&restored.point)?;
    let found = attempt.shared.ports.resources.get(&point, None).await?;
    let Some(found) = found.as_ref().and_then(|found| found.body.properties.restore_point()) else {
        return Err(AttemptError::fatal(TEMPORARY_MISSING, format!("the restore point {point} does not exist")).into());
    };
    let Some(id) = found.disk(restored.lun) else {
        let disk = restored.lun.map_or_else(|| "its OS disk".to_owned(), |lun| format!("the disk with LUN {lun}"));
        let message = format!("{point} does not have {disk}: it was detached before the restore point was created");
        return Err(AttemptError::fatal("source-changed", message).into());
    };
    if let Some(disk) = body.properties.disk_mut() {
        disk.creation_data.source_resource_id = Some(id.to_owned());
    }
    Ok(body)
}
