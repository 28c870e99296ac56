//! `vm`: clones of virtual machines.

use std::time::Duration;

use goldfleet_model::ids::JobId;
use goldfleet_model::text::{HumanBytes, duration, pluralize};
use goldfleet_ports::rng;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::arguments::{CloneArguments, VmCommand};
use super::dispatch::finish_command;
use super::error::{CommandError, DONE, USAGE};
use super::output::{Console, Output, write_json};
use super::table::{Cell, write_table};
use super::view;
use crate::control::context::{ControlContext, ControlError};
use crate::control::machines::plan::{CloneEstimate, PlannedClone, plan};
use crate::control::machines::request::request;

/// `goldfleet vm`.
///
/// # Errors
/// [`CommandError`].
pub async fn run(
    control: &ControlContext,
    command: &VmCommand,
    console: &mut Console<'_>,
    stop: &CancellationToken,
) -> Result<u8, CommandError> {
    match command {
        VmCommand::Clone(arguments) => {
            // No job has this id. It only makes the names of temporaries unique.
            let job = JobId::new(control.ports.clock.now(), rng::random_u64());
            let planned = plan(control, &arguments.request(), &job).await?;
            if arguments.dry_run || planned.is_refused() {
                return show(arguments, &planned, console);
            }
            confirm(arguments, &planned, console).await?;
            create(control, arguments, console, stop).await
        }
    }
}

/// Shows what would be done, or why it is refused.
fn show(arguments: &CloneArguments, planned: &PlannedClone, console: &mut Console<'_>) -> Result<u8, CommandError> {
    if console.output == Output::Json {
        write_json(console.out, &to_json(planned))?;
    } else if planned.is_refused() {
        view::write_findings(&planned.findings, console)?;
    } else {
        let text = describe(arguments, planned, console)?;
        console.out.write_all(text.as_bytes())?;
    }
    if planned.is_refused() {
        writeln!(console.notes, "the machine is not cloned, and nothing was changed")?;
        return Ok(USAGE);
    }
    writeln!(console.notes, "nothing was changed: this was a dry run")?;
    Ok(DONE)
}

/// Shows what will be done, and asks for confirmation.
async fn confirm(
    arguments: &CloneArguments,
    planned: &PlannedClone,
    console: &mut Console<'_>,
) -> Result<(), CommandError> {
    // The result of the command is the job, so this is a note.
    let text = describe(arguments, planned, console)?;
    console.notes.write_all(text.as_bytes())?;
    if arguments.yes {
        return Ok(());
    }
    let question = match (arguments.as_image, arguments.disks_only) {
        (true, _) => "Create the image?",
        (false, true) => "Clone the disks?",
        (false, false) => "Create and start the clone?",
    };
    match console.confirm(question).await? {
        Some(true) => Ok(()),
        Some(false) => Err(CommandError::Declined),
        None => {
            let message = "nobody can confirm the clone, because this is not a terminal: add --yes";
            Err(ControlError::Refused(message.to_owned()).into())
        }
    }
}

async fn create(
    control: &ControlContext,
    arguments: &CloneArguments,
    console: &mut Console<'_>,
    stop: &CancellationToken,
) -> Result<u8, CommandError> {
    let requested = request(&control.jobs, &arguments.request(), arguments.note.clone()).await?;
    if !requested.new {
        writeln!(console.notes, "job {} already does this", requested.job.id)?;
    }
    finish_command(control, &requested.job.id, arguments.wait, console, stop, None).await
}

/// The plan in the form for people.
fn describe(arguments: &CloneArguments, planned: &PlannedClone, console: &Console<'_>) -> Result<String, CommandError> {
    let (mut out, mut notes) = (Vec::new(), Vec::new());
    let mut plain = Console::plain(Output::Table, &mut out, &mut notes);
    plain.width = console.width;
    let disks = pluralize(planned.disks.len(), "disk");
    match planned.machine.as_ref().or(planned.image.as_ref()) {
        Some(machine) => {
            writeln!(plain.out, "{machine} in {} with {disks} of {}", arguments.to.region, arguments.source)?;
        }
        None => writeln!(plain.out, "{disks} of {} in {}", arguments.source, arguments.to.region)?,
    }
    let rows = planned.disks.iter().map(|disk| {
        let size = disk.size.map_or_else(String::new, |size| HumanBytes(size).to_string());
        let sku = disk.sku.clone().unwrap_or_default();
        let name = disk.id.as_ref().map_or_else(|| "in the image".to_owned(), |id| id.name.to_string());
        [disk.lun.clone(), disk.source.name.to_string(), name, size, sku].map(Cell::from)
    });
    write_table(&mut plain, &["lun", "source", "disk", "size", "sku"], rows)?;
    if let Some(CloneEstimate { bytes_at_most, egress_at_most, seconds_at_most }) = planned.estimate {
        writeln!(
            plain.out,
            "at most {} from one region to another, for {egress_at_most}; at the assumed speed of the service in {} or less",
            HumanBytes(bytes_at_most),
            duration(Duration::from_secs(seconds_at_most))
        )?;
    }
    view::write_findings(&planned.findings, &mut plain)?;
    Ok(String::from_utf8_lossy(&out).into_owned())
}

fn to_json(planned: &PlannedClone) -> Value {
    let disks = planned.disks.iter().map(
        |disk| json!({ "lun": disk.lun, "source": disk.source, "id": disk.id, "size": disk.size, "sku": disk.sku }),
    );
    json!({
        "machine": planned.machine,
        "image": planned.image,
        "refused": planned.is_refused(),
        "source_runs": planned.runs,
        "operations": planned.groups.iter().map(Vec::len).sum::<usize>(),
        "disks": disks.collect::<Vec<_>>(),
        "estimate": planned.estimate,
        "findings": planned.findings,
    })
}
