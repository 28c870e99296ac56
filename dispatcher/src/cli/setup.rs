//! `setup`.

use serde_json::json;

use super::error::{CommandError, DONE, SERVICE};
use super::output::{Console, Output, write_json};
use crate::control::context::ControlContext;
use crate::control::setup::set_up;
use crate::terminal::color::Tone;

/// `goldfleet setup`.
///
/// # Errors
/// If the targets file cannot be read, or the console cannot be written to.
pub async fn run(control: &ControlContext, console: &mut Console<'_>) -> Result<u8, CommandError> {
    let made = set_up(control).await?;
    let failed = made.iter().filter(|made| made.error.is_some()).count();
    if console.output == Output::Json {
        let row = |made: &crate::control::setup::SetupResult| {
            let (code, message) = made.error.as_ref().map(|error| (&error.code, error.to_string())).unzip();
            json!({ "what": made.what, "ready": made.error.is_none(), "code": code, "message": message })
        };
        write_json(console.out, &made.iter().map(row).collect::<Vec<_>>())?;
    } else {
        for made in &made {
            match &made.error {
                None => {
                    let ready = console.word(Tone::Success, "ready");
                    writeln!(console.out, "{}: {ready}", made.what)?;
                }
                Some(error) => {
                    let failed = console.word(Tone::Error, "failed");
                    writeln!(console.out, "{}: {failed} [{}]: {error}", made.what, error.code)?;
                }
            }
        }
    }
    if failed > 0 {
        writeln!(console.notes, "{failed} of {} could not be created; 'goldfleet doctor' shows why", made.len())?;
        return Ok(SERVICE);
    }
    writeln!(console.notes, "next: 'goldfleet doctor' checks the rest, 'goldfleet upload' uploads a VHD")?;
    Ok(DONE)
}
