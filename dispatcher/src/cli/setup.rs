//! `setup`.

use serde_json::json;

use super::error::{CommandError, DONE, SERVICE};
use super::output::{Console, Output, write_json};
use crate::control::desk::Desk;
use crate::control::setup::set_up;
use crate::terminal::paint::Tone;

/// `goldfleet setup`.
///
/// # Errors
/// Where the targets file can't be read, or the console not written to.
pub async fn run(desk: &Desk, console: &mut Console<'_>) -> Result<u8, CommandError> {
    let made = set_up(desk).await?;
    let failed = made.iter().filter(|made| made.error.is_some()).count();
    if console.output == Output::Json {
        let row = |made: &crate::control::setup::Made| {
            let (code, message) = made.error.as_ref().map(|error| (&error.code, error.to_string())).unzip();
            json!({ "what": made.what, "ready": made.error.is_none(), "code": code, "message": message })
        };
        write_json(console.out, &made.iter().map(row).collect::<Vec<_>>())?;
    } else {
        for made in &made {
            match &made.error {
                None => {
                    let ready = console.word(Tone::Good, "ready");
                    writeln!(console.out, "{}: {ready}", made.what)?;
                }
                Some(error) => {
                    let failed = console.word(Tone::Bad, "failed");
                    writeln!(console.out, "{}: {failed} [{}]: {error}", made.what, error.code)?;
                }
            }
        }
    }
    if failed > 0 {
        writeln!(
            console.notes,
            "{failed} of {} could not be made; 'goldfleet doctor' tells what is missing",
            made.len()
        )?;
        return Ok(SERVICE);
    }
    writeln!(console.notes, "'goldfleet doctor' looks whether all is well, 'goldfleet upload' begins")?;
    Ok(DONE)
}
