//! `verify`.

use goldfleet_shared::model::image::ImageRef;
use indicatif::HumanBytes;

use super::arguments::VerifyArguments;
use super::error::{CommandError, DONE, FAILED};
use super::output::{Console, Output, write_json};
use crate::desk::Desk;
use crate::request::manifest;
use crate::verify::{Places, verify};

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
    let verified = verify(desk, &image, &places, arguments.read).await?;
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
        let count = verified.faults.len();
        writeln!(console.out, "{image}: {} stores, {} VHDs{read}; {count} faults", verified.stores, verified.vhds)?;
    }
    if !verified.faults.is_empty() {
        let hint = "upload the version again to mend the source store, or remove what is wrong and dispatch it again";
        writeln!(console.notes, "{hint}")?;
        return Ok(FAILED);
    }
    Ok(DONE)
}
