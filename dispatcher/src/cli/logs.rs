//! `logs`.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use goldfleet_model::event::Event;
use goldfleet_model::ids::JobId;
use goldfleet_model::operation::{Operation, OperationId, OperationState};
use goldfleet_ports::Ports;
use tokio_util::sync::CancellationToken;

use super::arguments::LogsArguments;
use super::choose;
use super::error::{CommandError, DONE, INTERRUPTED};
use super::output::{Console, Output, write_json};
use crate::control::context::ControlContext;

/// The minimum interval between two polls for new events.
const LOOK: Duration = Duration::from_secs(1);

/// The minimum pause after a poll, as a multiple of the duration of that poll. Reading the events of a large job
/// repeatedly must not keep the table busy.
const SHARE: u32 = 4;

/// `goldfleet logs`.
///
/// # Errors
/// [`CommandError`].
pub async fn run(
    control: &ControlContext,
    arguments: &LogsArguments,
    console: &mut Console<'_>,
    stop: &CancellationToken,
) -> Result<u8, CommandError> {
    let job = choose::shown(control, arguments.job.job.as_ref()).await?.value.id;
    if arguments.follow {
        return follow(control, &job, arguments, console, stop).await;
    }
    let events = Filter::read(&control.ports, &job, arguments).await?.events(&control.ports, &job).await?;
    if console.output == Output::Json {
        write_json(console.out, &events)?;
        return Ok(DONE);
    }
    if events.is_empty() {
        let which = if arguments.failed || arguments.operation.is_some() { "matching " } else { "" };
        writeln!(console.notes, "job {job} has no {which}events")?;
    }
    for event in &events {
        write_line(event, console)?;
    }
    Ok(DONE)
}

/// Prints events as they are appended, until the job has ended.
async fn follow(
    control: &ControlContext,
    job: &JobId,
    arguments: &LogsArguments,
    console: &mut Console<'_>,
    stop: &CancellationToken,
) -> Result<u8, CommandError> {
    let mut printed = 0;
    let mut seen = HashSet::new();
    loop {
        let began = Instant::now();
        // Read the job before its events. An event that is appended after the job has ended is read by the next poll,
        // or belongs to a retry.
        let ended = control.jobs.job(job).await?.value.state.is_terminal();
        let filter = Filter::read(&control.ports, job, arguments).await?;
        let events = filter.events(&control.ports, job).await?;
        // Events of several writers may arrive out of order. Each event is printed once.
        for event in events.iter().filter(|event| seen.insert(identity(event))) {
            printed += 1;
            if console.output == Output::Json {
                writeln!(console.out, "{}", serde_json::to_string(event).map_err(std::io::Error::other)?)?;
            } else {
                write_line(event, console)?;
            }
        }
        console.out.flush()?;
        if ended {
            tracing::info!(%job, events = printed, "the job has ended");
            return Ok(DONE);
        }
        tokio::select! {
            () = control.ports.clock.sleep(LOOK.max(began.elapsed() * SHARE)) => {}
            () = stop.cancelled() => return Ok(INTERRUPTED),
        }
    }
}

/// The values that identify an event within its job.
fn identity(event: &Event) -> (Option<String>, i128, String, String) {
    let operation = event.operation.as_ref().map(ToString::to_string);
    (operation, event.at.as_nanosecond(), event.what.clone(), event.to.clone())
}

/// Selects the events that are printed.
struct Filter {
    /// Only operations whose id contains this text, or that are in `named`.
    text: Option<String>,
    /// The operations whose kind and place contain the text.
    named: HashSet<OperationId>,
    /// Only these operations.
    operations: Option<HashSet<OperationId>>,
}

impl Filter {
    async fn read(ports: &Ports, job: &JobId, arguments: &LogsArguments) -> Result<Self, CommandError> {
        let mut filter = Self { text: arguments.operation.clone(), named: HashSet::new(), operations: None };
        if !arguments.failed && filter.text.is_none() {
            return Ok(filter);
        }
        let rows: Vec<Operation> =
            ports.table.list_operations(job).await?.rows.into_iter().map(|row| row.value).collect();
        if let Some(text) = &filter.text {
            let is_named = |row: &&Operation| format!("{} {}", row.kind, row.place.label).contains(text);
            filter.named = rows.iter().filter(is_named).map(|row| row.id.clone()).collect();
        }
        if arguments.failed {
            let failed = rows.into_iter().filter(|row| row.state == OperationState::Failed);
            filter.operations = Some(failed.map(|row| row.id).collect());
        }
        Ok(filter)
    }

    async fn events(&self, ports: &Ports, job: &JobId) -> Result<Vec<Event>, CommandError> {
        let mut events = ports.table.list_events(job, None).await?.rows;
        events.retain(|event| self.lets_pass(event.operation.as_ref()));
        Ok(events)
    }

    fn lets_pass(&self, operation: Option<&OperationId>) -> bool {
        let has_text =
            |text: &String| operation.is_some_and(|id| id.to_string().contains(text) || self.named.contains(id));
        let is_one = |ids: &HashSet<OperationId>| operation.is_some_and(|id| ids.contains(id));
        self.text.as_ref().is_none_or(has_text) && self.operations.as_ref().is_none_or(is_one)
    }
}

/// Times have milliseconds. A higher precision would not help, because the clocks of several machines differ.
fn write_line(event: &Event, console: &mut Console<'_>) -> std::io::Result<()> {
    let Event { at, who, from, to, what, .. } = event;
    let id = event.operation.as_ref().map_or_else(|| format!("job {}", event.job), ToString::to_string);
    let why = event.why.as_ref().map_or_else(String::new, |why| format!(": {why}"));
    writeln!(console.out, "{at:.3} {who} {id} {from} -> {to} ({what}){why}")
}
