//! `setup`.

use goldfleet_ports::error::PortError;
use serde_json::{Value, json};

use super::arguments::SetupArguments;
use super::error::{CommandError, DONE, FAILED, SERVICE};
use super::output::{Console, Output, write_json};
use crate::control::context::ControlContext;
use crate::control::setup::register::{RegisterOutcome, RegisterResult, register};
use crate::control::setup::{SetupResult, set_up};
use crate::terminal::color::Tone;

/// A line of the output: what it is about, its state in a few words, and why it failed.
struct Line<'a> {
    what: String,
    state: &'static str,
    tone: Tone,
    ready: bool,
    error: Option<&'a PortError>,
}

impl<'a> Line<'a> {
    fn of_setup(made: &'a SetupResult) -> Self {
        let error = made.error.as_ref();
        let (state, tone) = if error.is_none() { ("ready", Tone::Success) } else { ("failed", Tone::Error) };
        Self { what: made.what.clone(), state, tone, ready: error.is_none(), error }
    }

    fn of_registration(result: &'a RegisterResult) -> Self {
        let (state, tone, error) = match &result.outcome {
            RegisterOutcome::Registered => ("registered", Tone::Success, None),
            RegisterOutcome::New => ("registered now", Tone::Success, None),
            RegisterOutcome::InProgress => ("being registered", Tone::Active, None),
            RegisterOutcome::Missing => ("not registered", Tone::Warning, None),
            RegisterOutcome::Failed(error) => ("failed", Tone::Error, Some(error)),
        };
        let ready = matches!(result.outcome, RegisterOutcome::Registered | RegisterOutcome::New);
        Self { what: format!("{} in {}", result.namespace, result.subscription), state, tone, ready, error }
    }

    fn json(&self) -> Value {
        let (code, message) = self.error.map(|error| (&error.code, error.to_string())).unzip();
        json!({ "what": self.what, "ready": self.ready, "state": self.state, "code": code, "message": message })
    }

    fn write(&self, console: &mut Console<'_>) -> std::io::Result<()> {
        let state = console.word(self.tone, self.state);
        match self.error {
            None => writeln!(console.out, "{}: {state}", self.what),
            Some(error) => writeln!(console.out, "{}: {state} [{}]: {error}", self.what, error.code),
        }
    }
}

/// `goldfleet setup`.
///
/// # Errors
/// If the targets file cannot be read, or the console cannot be written to.
pub async fn run(
    control: &ControlContext,
    arguments: &SetupArguments,
    console: &mut Console<'_>,
) -> Result<u8, CommandError> {
    let made = if arguments.dry_run { Vec::new() } else { set_up(&control.ports, &control.config).await? };
    let registered = if arguments.register { registrations(control, arguments, console).await? } else { Vec::new() };
    let of_setup = made.iter().map(Line::of_setup);
    let lines: Vec<Line<'_>> = of_setup.chain(registered.iter().map(Line::of_registration)).collect();
    if console.output == Output::Json {
        write_json(console.out, &lines.iter().map(Line::json).collect::<Vec<_>>())?;
    } else {
        for line in &lines {
            line.write(console)?;
        }
    }
    finish(&lines, arguments, console)
}

async fn registrations(
    control: &ControlContext,
    arguments: &SetupArguments,
    console: &mut Console<'_>,
) -> Result<Vec<RegisterResult>, CommandError> {
    match goldfleet_connect::open_providers(&control.config)? {
        Some(providers) => Ok(register(control, providers.as_ref(), arguments.dry_run).await?),
        None => {
            writeln!(console.notes, "[cloud] is not Azure: there are no resource providers to register")?;
            Ok(Vec::new())
        }
    }
}

fn finish(lines: &[Line<'_>], arguments: &SetupArguments, console: &mut Console<'_>) -> Result<u8, CommandError> {
    let failed = lines.iter().filter(|line| line.error.is_some()).count();
    let open = lines.iter().filter(|line| !line.ready && line.error.is_none()).count();
    if failed > 0 {
        writeln!(console.notes, "{failed} of {} could not be created; 'goldfleet doctor' shows why", lines.len())?;
        return Ok(SERVICE);
    }
    if arguments.dry_run {
        let next = if open > 0 { "'goldfleet setup --register' registers them" } else { "nothing is missing" };
        writeln!(console.notes, "nothing was changed: this was a dry run; {next}")?;
        return Ok(DONE);
    }
    if open > 0 {
        writeln!(console.notes, "{open} not registered yet: run 'goldfleet setup --register' again in some minutes")?;
        return Ok(FAILED);
    }
    writeln!(console.notes, "next: 'goldfleet doctor' checks the rest, 'goldfleet upload' uploads a VHD")?;
    Ok(DONE)
}
