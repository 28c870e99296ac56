//! `verify`.

use std::time::Instant;

use goldfleet_model::image::ImageRef;
use goldfleet_model::job::Job;
use goldfleet_model::text::{HumanBytes, pluralize};

use super::arguments::VerifyArguments;
use super::choose;
use super::error::{CommandError, DONE, FAILED, SERVICE};
use super::output::{Console, Output, write_json};
use crate::control::artifacts::artifact_record;
use crate::control::context::{ControlContext, ControlError};
use crate::control::verify::record::record_result;
use crate::control::verify::{LocationKind, MISSING, VerifyFault, VerifyOptions, VerifyReport, VerifyScope, verify};
use crate::terminal::progress::{ProgressDisplay, ProgressMode};

/// `goldfleet verify`.
///
/// # Errors
/// [`CommandError`].
pub async fn run(
    control: &ControlContext,
    arguments: &VerifyArguments,
    console: &mut Console<'_>,
) -> Result<u8, CommandError> {
    type Subject = (String, Option<ImageRef>, VerifyScope, Option<Job>);
    let (subject, image, places, whole): Subject = match (&arguments.image, &arguments.version) {
        (Some(image), Some(version)) => {
            let image =
                artifact_record(&control.ports, &control.config, image, version).await?.artifact.named(image, version);
            (image.to_string(), Some(image), VerifyScope::scope_of_source(&control.config), None)
        }
        _ => {
            let job = choose::shown(control, arguments.job.as_ref()).await?.value;
            let places = VerifyScope::scope_of_job(control, &job).await?;
            let is_unfinished = control.jobs.has_unfinished_work(&job).await?;
            if is_unfinished {
                writeln!(console.notes, "job {} has not ended: only what it has finished is checked", job.id)?;
            }
            (job.subject.to_string(), job.image().cloned(), places, (!is_unfinished).then_some(job))
        }
    };
    let how = VerifyOptions { read: arguments.read, remove: arguments.remove };
    let progress = ProgressDisplay::new(ProgressMode::for_stderr(console.output == Output::Json));
    let begun = Instant::now();
    let verified = verify(control, image.as_ref(), &places, how, &|seen| progress.verification(&seen, begun)).await;
    progress.end();
    let verified = verified?;
    if let (Some(job), Some(image)) = (&whole, &image) {
        record_result(&control.jobs, job, image, &verified, how).await.map_err(ControlError::from)?;
    }
    if console.output == Output::Json {
        write_json(console.out, &verified)?;
    } else {
        for fault in &verified.faults {
            let chunk = fault.chunk.as_ref().map_or_else(String::new, |chunk| format!(": chunk {chunk}"));
            writeln!(console.out, "{}{chunk} {}", fault.place, fault.fault)?;
        }
        writeln!(console.out, "{subject}: {}", summary(&verified, how))?;
    }
    for hint in hints(&verified.faults, arguments.remove) {
        writeln!(console.notes, "{hint}")?;
    }
    Ok(match verified.faults.as_slice() {
        [] => DONE,
        faults if faults.iter().all(|fault| fault.unseen) => SERVICE,
        _ => FAILED,
    })
}

/// A sentence that says what was verified.
fn summary(verified: &VerifyReport, how: VerifyOptions) -> String {
    if verified.stores + verified.vhds + verified.images == 0 && verified.others > 0 {
        let (effects, faults) = (pluralize(verified.others, "effect"), pluralize(verified.faults.len(), "fault"));
        return format!("{effects} of operations; {faults}");
    }
    let mut looked = vec![pluralize(verified.stores, "store"), pluralize(verified.vhds, "VHD")];
    if verified.vhds_gone > 0 {
        looked.push(format!("{} deleted after their images were created", verified.vhds_gone));
    }
    looked.push(pluralize(verified.images, "image"));
    if verified.others > 0 {
        looked.push(pluralize(verified.others, "other effect"));
    }
    if how.read {
        looked.push(format!("{} read and compared", HumanBytes(verified.bytes_read)));
    }
    let removed =
        if how.remove { format!(", {} removed", pluralize(verified.removed, "chunk")) } else { String::new() };
    format!("{}; {}{removed}", looked.join(", "), pluralize(verified.faults.len(), "fault"))
}

/// How to repair faults like these.
fn hints(faults: &[VerifyFault], removed: bool) -> Vec<&'static str> {
    let any = |is: &dyn Fn(&VerifyFault) -> bool| faults.iter().any(|fault| !fault.unseen && is(fault));
    let mut hints = Vec::new();
    if any(&|fault| fault.chunk.is_some()) {
        if !removed && any(&|fault| fault.chunk.is_some() && fault.fault != MISSING) {
            hints.push("--remove deletes damaged chunks from their stores");
        }
        hints.push("an upload of the same version restores the source store; the next job restores other stores");
    }
    if any(&|fault| fault.kind == LocationKind::Vhd) {
        hints.push("to replace a VHD: delete it and its image, and dispatch the version again");
    }
    if any(&|fault| fault.kind == LocationKind::Image) {
        hints.push("'goldfleet dispatch' of the version creates missing images and replaces those with other content");
    }
    if faults.iter().any(|fault| fault.unseen) {
        hints.push("'goldfleet doctor' shows why a place cannot be read");
    }
    hints
}
