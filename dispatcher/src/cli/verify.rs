//! `verify`.

use std::time::Instant;

use goldfleet_model::image::ImageRef;
use goldfleet_model::words::counted;
use indicatif::HumanBytes;

use super::arguments::VerifyArguments;
use super::error::{CommandError, DONE, FAILED, SERVICE};
use super::output::{Console, Output, write_json};
use crate::control::desk::Desk;
use crate::control::request::manifest;
use crate::control::verify::{Fault, How, MISSING, PlaceKind, Places, Verified, verify};
use crate::terminal::progress::{Progress, Style};

/// `goldfleet verify`.
///
/// # Errors
/// [`CommandError`].
pub async fn run(desk: &Desk, arguments: &VerifyArguments, console: &mut Console<'_>) -> Result<u8, CommandError> {
    let (image, places): (ImageRef, Places) = match (&arguments.image, &arguments.version) {
        (Some(image), Some(version)) => (manifest(desk, image, version).await?.0, Places::source(desk)),
        _ => {
            let job = desk.job_or_newest(arguments.job.as_ref()).await?.value;
            let places = Places::of_job(desk, &job).await?;
            if desk.has_work(&job).await? {
                writeln!(console.notes, "job {} has not ended: what it has still to do is not looked at", job.id)?;
            }
            (job.image, places)
        }
    };
    let how = How { read: arguments.read, remove: arguments.remove };
    let progress = Progress::new(Style::fitting(console.output == Output::Json));
    let begun = Instant::now();
    let verified = verify(desk, &image, &places, how, &|seen| progress.verification(&seen, begun)).await;
    progress.end();
    let verified = verified?;
    if console.output == Output::Json {
        write_json(console.out, &verified)?;
    } else {
        for fault in &verified.faults {
            let chunk = fault.chunk.as_ref().map_or_else(String::new, |chunk| format!(": chunk {chunk}"));
            writeln!(console.out, "{}{chunk} {}", fault.place, fault.fault)?;
        }
        writeln!(console.out, "{image}: {}", sum(&verified, how))?;
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

/// What was looked at, in a sentence.
fn sum(verified: &Verified, how: How) -> String {
    let mut looked = vec![counted(verified.stores, "store"), counted(verified.vhds, "VHD")];
    if verified.vhds_gone > 0 {
        looked.push(format!("{} gone after their images were made", verified.vhds_gone));
    }
    looked.push(counted(verified.images, "image"));
    if how.read {
        looked.push(format!("{} read and compared", HumanBytes(verified.bytes_read)));
    }
    let removed = if how.remove { format!(", {} removed", counted(verified.removed, "chunk")) } else { String::new() };
    format!("{}; {}{removed}", looked.join(", "), counted(verified.faults.len(), "fault"))
}

/// What mends faults like these.
fn hints(faults: &[Fault], removed: bool) -> Vec<&'static str> {
    let any = |is: &dyn Fn(&Fault) -> bool| faults.iter().any(|fault| !fault.unseen && is(fault));
    let mut hints = Vec::new();
    if any(&|fault| fault.chunk.is_some()) {
        if !removed && any(&|fault| fault.chunk.is_some() && fault.fault != MISSING) {
            hints.push("with --remove, chunks that are wrong are taken out of their stores");
        }
        hints.push("an upload of the same version sends what the source store lacks, the next job what another lacks");
    }
    if any(&|fault| fault.kind == PlaceKind::Vhd) {
        hints.push("a VHD is made anew where it and its image are removed and the version is dispatched again");
    }
    if any(&|fault| fault.kind == PlaceKind::Image) {
        hints.push(
            "'goldfleet dispatch' of the version makes images that are missing, and replaces those of other content",
        );
    }
    if faults.iter().any(|fault| fault.unseen) {
        hints.push("'goldfleet doctor' tells what is missing where a place can't be looked at");
    }
    hints
}
