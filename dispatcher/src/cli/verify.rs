//! `verify`.

use goldfleet_shared::model::image::ImageRef;
use indicatif::HumanBytes;

use super::arguments::VerifyArguments;
use super::error::{CommandError, DONE, FAILED};
use super::output::{Console, Output, write_json};
use crate::desk::Desk;
use crate::request::manifest;
use crate::verify::{Fault, How, Places, verify};

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
            (job.image, places)
        }
    };
    let how = How { read: arguments.read, remove: arguments.remove };
    let verified = verify(desk, &image, &places, how).await?;
    if console.output == Output::Json {
        write_json(console.out, &verified)?;
    } else {
        for fault in &verified.faults {
            let chunk = fault.chunk.as_ref().map_or_else(String::new, |chunk| format!(": chunk {chunk}"));
            writeln!(console.out, "{}{chunk} {}", fault.place, fault.fault)?;
        }
        let read = if arguments.read {
            format!(", {} read and compared", HumanBytes(verified.bytes_read))
        } else {
            String::new()
        };
        let removed = if arguments.remove { format!(", {} chunks removed", verified.removed) } else { String::new() };
        let (stores, vhds, count) = (verified.stores, verified.vhds, verified.faults.len());
        writeln!(console.out, "{image}: {stores} stores, {vhds} VHDs{read}; {count} faults{removed}")?;
    }
    if verified.faults.is_empty() {
        return Ok(DONE);
    }
    for hint in hints(&verified.faults, arguments.remove) {
        writeln!(console.notes, "{hint}")?;
    }
    Ok(FAILED)
}

/// What mends faults like these.
fn hints(faults: &[Fault], removed: bool) -> Vec<&'static str> {
    let (chunks, vhds): (Vec<_>, Vec<_>) = faults.iter().partition(|fault| fault.chunk.is_some());
    let mut hints = Vec::new();
    if !chunks.is_empty() && !removed {
        hints.push("with --remove, chunks that are wrong are taken out of their stores");
    }
    if !chunks.is_empty() {
        hints.push("an upload of the same version sends what the source store lacks, the next job what another lacks");
    }
    if !vhds.is_empty() {
        hints.push("a VHD is made anew where it and its image are removed and the version is dispatched again");
    }
    hints
}
