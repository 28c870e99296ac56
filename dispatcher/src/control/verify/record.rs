//! The result of a verification, as a record of the image version. `goldfleet promote` reads it.

use goldfleet_galleries::publication::{FORMAT, Verification};
use goldfleet_model::document::Document;
use goldfleet_model::image::ImageRef;
use goldfleet_model::job::Job;
use goldfleet_ports::error::{ErrorKind, PortError, PortResult};
use goldfleet_ports::records::RecordName;

use super::{VerifyOptions, VerifyReport};
use crate::control::job_store::JobStore;

/// The number of attempts to replace a record that others write too.
const ATTEMPTS: u32 = 5;

/// Records the result of the verification of a job. The last result counts.
///
/// # Errors
/// If the table cannot be reached.
pub async fn record_result(
    jobs: &JobStore,
    job: &Job,
    image: &ImageRef,
    report: &VerifyReport,
    how: VerifyOptions,
) -> PortResult<()> {
    let invalid = |error: String| PortError::new(ErrorKind::Invalid, format!("the record of a verification: {error}"));
    let result = Verification {
        image: image.clone(),
        job: job.id.clone(),
        by: jobs.actor.clone(),
        at: jobs.ports.clock.now(),
        locations: report.stores + report.vhds + report.images + report.others,
        faults: report.faults.len(),
        read: how.read,
    };
    let name = Verification::record_name(&image.name, &image.version);
    let name: RecordName = name.parse().map_err(|error| invalid(format!("{error}")))?;
    let document = Document::new(FORMAT, &result).map_err(|error| invalid(error.to_string()))?;
    for _ in 0..ATTEMPTS {
        let found = jobs.ports.records.get(&name).await?;
        match jobs.ports.records.put(&name, &document, found.as_ref().map(|found| &found.etag)).await {
            Err(error) if matches!(error.kind, ErrorKind::Conflict | ErrorKind::AlreadyExists) => {}
            written => return written.map(drop),
        }
    }
    Err(PortError::new(
        ErrorKind::Unavailable,
        "other processes changed the record of the verification in every attempt",
    ))
}
