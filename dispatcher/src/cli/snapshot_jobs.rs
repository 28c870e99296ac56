//! `snapshots`: copies, syncs, and where replicas are.

use std::time::Duration;

use goldfleet_config::Config;
use goldfleet_model::ids::JobId;
use goldfleet_model::job::Work;
use goldfleet_model::text::{HumanBytes, duration, pluralize};
use goldfleet_ports::rng;
use goldfleet_snapshots::graph::{Row, RowSpec};
use goldfleet_snapshots::rules::Speed;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::arguments::{CopyArguments, ListArguments, SnapshotJobArguments, SnapshotsCommand, SyncArguments};
use super::dispatch::finish_command;
use super::error::{CommandError, DONE, FAILED, SERVICE};
use super::output::{Console, Output, write_json};
use super::table::{Cell, write_table};
use super::view;
use crate::control::context::ControlContext;
use crate::control::snapshots::RunSpec;
use crate::control::snapshots::estimate::RunEstimate;
use crate::control::snapshots::overview::{ReplicaState, SnapshotLine, SyncOverview, overview};
use crate::control::snapshots::request::{
    CopyRequest, RunOptions, configured, copies, request, work_of_copy, work_of_sync,
};
use crate::control::snapshots::run::{PlannedRun, plan};
use crate::terminal::color::Tone;

/// `goldfleet snapshots`.
///
/// # Errors
/// [`CommandError`].
pub async fn run(
    control: &ControlContext,
    command: &SnapshotsCommand,
    console: &mut Console<'_>,
    stop: &CancellationToken,
) -> Result<u8, CommandError> {
    match command {
        SnapshotsCommand::Copy(arguments) => {
            let works = copy_works(arguments)?;
            perform(control, works, &arguments.job, console, stop).await
        }
        SnapshotsCommand::Sync(arguments) => {
            let works = sync_works(&control.config, arguments)?;
            perform(control, works, &arguments.job, console, stop).await
        }
        SnapshotsCommand::List(arguments) => list(control, arguments, console).await,
    }
}

fn copy_works(arguments: &CopyArguments) -> Result<Vec<Work>, CommandError> {
    let to = arguments.to.iter().map(|place| {
        let mut to = place.0.clone();
        to.disk_encryption_set.clone_from(&arguments.des);
        to
    });
    let asked = CopyRequest {
        ids: arguments.ids.clone(),
        to: to.collect(),
        scratch: arguments.scratch.as_ref().map(|scratch| scratch.0.clone()),
        speed: if arguments.enhanced { Speed::Enhanced } else { Speed::Standard },
    };
    let options = RunOptions { name: arguments.name.clone(), ..RunOptions::default() };
    let works = copies(&asked)?;
    Ok(works.iter().map(|sync| work_of_copy(sync, &options)).collect::<Result<_, _>>()?)
}

fn sync_works(config: &Config, arguments: &SyncArguments) -> Result<Vec<Work>, CommandError> {
    let options = RunOptions { allow_empty: arguments.allow_empty, max_deletes: arguments.max_deletes, name: None };
    let syncs = configured(config, &arguments.names)?;
    Ok(syncs.into_iter().map(|sync| work_of_sync(sync, &options)).collect::<Result<_, _>>()?)
}

/// Requests each run or copy as a job, or shows what it would do. An error of one does not prevent the others.
async fn perform(
    control: &ControlContext,
    works: Vec<Work>,
    arguments: &SnapshotJobArguments,
    console: &mut Console<'_>,
    stop: &CancellationToken,
) -> Result<u8, CommandError> {
    if arguments.dry_run {
        return dry_run(control, &works, console).await;
    }
    let mut jobs = Vec::new();
    for work in works {
        let requested = request(&control.jobs, work, arguments.note.clone()).await?;
        if !requested.new {
            writeln!(console.notes, "job {} already does this", requested.job.id)?;
        }
        jobs.push(requested.job.id);
    }
    let mut worst = DONE;
    let mut results: Vec<Value> = Vec::new();
    for job in &jobs {
        let mut text = Vec::new();
        let mut each = console.with_output(&mut text);
        worst = worst.max(finish_command(control, job, arguments.wait, &mut each, stop, None).await?);
        match serde_json::from_slice(&text) {
            Ok(value) if console.output == Output::Json => results.push(value),
            _ => console.out.write_all(&text)?,
        }
    }
    if console.output == Output::Json {
        write_json(console.out, &results)?;
    }
    Ok(worst)
}

async fn dry_run(control: &ControlContext, works: &[Work], console: &mut Console<'_>) -> Result<u8, CommandError> {
    let mut plans = Vec::new();
    for work in works {
        // No job has this id. It only makes the names of temporaries unique.
        let job = JobId::new(control.ports.clock.now(), rng::random_u64());
        plans.push((work, plan(control, &RunSpec::of(work)?, &job).await?));
    }
    let failed = plans.iter().any(|(_, plan)| plan.findings.iter().any(|finding| finding.failed));
    let unlisted = plans.iter().any(|(_, plan)| plan.is_unlisted);
    if console.output == Output::Json {
        write_json(console.out, &plans.iter().map(|(work, plan)| to_json(work, plan)).collect::<Vec<_>>())?;
    } else {
        for (work, plan) in &plans {
            write_plan(work, plan, console)?;
        }
        writeln!(console.notes, "nothing was changed: this was a dry run")?;
    }
    Ok(match (unlisted, failed) {
        (true, _) => SERVICE,
        (false, true) => FAILED,
        (false, false) => DONE,
    })
}

fn to_json(work: &Work, plan: &PlannedRun) -> Value {
    let actions = plan
        .groups
        .iter()
        .flatten()
        .map(|row| json!({ "action": action(row), "resource": resource(row), "reason": row.spec.reason() }));
    json!({
        "title": work.title,
        "complete": plan.complete,
        "copies": plan.copies,
        "promotions": plan.promotions,
        "removals": plan.removals,
        "locks": plan.locks,
        "estimate": plan.estimate,
        "actions": actions.collect::<Vec<_>>(),
        "findings": plan.findings,
    })
}

fn write_plan(work: &Work, plan: &PlannedRun, console: &mut Console<'_>) -> Result<(), CommandError> {
    writeln!(
        console.out,
        "{}: {} complete, {} to copy, {} to rename, {} to delete",
        work.title,
        pluralize(plan.complete, "replica"),
        plan.copies,
        plan.promotions,
        plan.removals
    )?;
    let rows: Vec<[Cell; 3]> = plan
        .groups
        .iter()
        .flatten()
        // A discard deletes something only if its copy is cancelled or failed.
        .filter(|row| !matches!(row.spec, RowSpec::Discard(_)))
        .map(|row| [action(row).into(), resource(row).into(), row.spec.reason().unwrap_or_default().into()])
        .collect();
    if !rows.is_empty() {
        write_table(console, &["action", "resource", "reason"], rows)?;
    }
    write_estimate(&plan.estimate, console)?;
    view::write_findings(&plan.findings, console)?;
    Ok(())
}

/// Writes the bytes, the cost and the time of the copies between regions, if there are any.
fn write_estimate(estimate: &RunEstimate, console: &mut Console<'_>) -> Result<(), CommandError> {
    let copies = estimate.whole + estimate.differences;
    if copies == 0 {
        return Ok(());
    }
    let bytes = estimate.whole_bytes_at_most.saturating_add(estimate.differences_bytes_at_most);
    writeln!(
        console.out,
        "\n{copies} of the copies are between regions: at most {}, {} of egress, {}",
        HumanBytes(bytes),
        estimate.egress_at_most,
        duration(Duration::from_secs(estimate.seconds_at_most))
    )?;
    if estimate.differences > 0 {
        writeln!(
            console.out,
            "{} of them transfer only the difference to an earlier snapshot, of at most {}; how large it is, the service does \
             not report",
            estimate.differences,
            HumanBytes(estimate.differences_bytes_at_most)
        )?;
    }
    Ok(())
}

/// What a row does, in one or two words.
fn action(row: &Row) -> String {
    match &row.spec {
        RowSpec::Copy(_) => "copy to",
        RowSpec::Export(_) => "fill temporary",
        RowSpec::Create(_) => "create temporary",
        RowSpec::Sink(_) | RowSpec::Golden(_) => "create",
        RowSpec::Remove(_) => "delete",
        RowSpec::RemoveTemporary(_) | RowSpec::EndExport(_) => "delete temporary",
        RowSpec::Discard(_) => "delete if incomplete",
        RowSpec::Lock(_) => "lock",
    }
    .to_owned()
}

fn resource(row: &Row) -> String {
    match &row.spec {
        RowSpec::Copy(spec) => spec.id.to_string(),
        RowSpec::Export(spec) => spec.disk.clone(),
        RowSpec::Create(spec) | RowSpec::Sink(spec) => spec.id.clone(),
        RowSpec::Golden(spec) => spec.create.id.clone(),
        RowSpec::Remove(spec) => spec.id.to_string(),
        RowSpec::RemoveTemporary(spec) => spec.id.clone(),
        RowSpec::EndExport(spec) => spec.disk.id.clone(),
        RowSpec::Discard(spec) => spec.id.to_string(),
        RowSpec::Lock(spec) => spec.id.to_string(),
    }
}

async fn list(
    control: &ControlContext,
    arguments: &ListArguments,
    console: &mut Console<'_>,
) -> Result<u8, CommandError> {
    let mut syncs = Vec::new();
    for sync in configured(&control.config, &arguments.names)? {
        syncs.push(overview(control, sync).await?);
    }
    if console.output == Output::Json {
        write_json(console.out, &syncs)?;
    } else {
        for sync in &syncs {
            write_overview(sync, console)?;
        }
    }
    let unlisted: Vec<_> = syncs.iter().flat_map(|sync| &sync.unlisted).collect();
    for group in &unlisted {
        writeln!(console.notes, "{} was not listed completely: {}", group.group, group.reason)?;
    }
    for item in syncs.iter().flat_map(|sync| &sync.unreadable) {
        let name = item.id.as_ref().unwrap_or(&item.group);
        writeln!(console.notes, "{name} cannot be read, so it is left out: {}", item.reason)?;
    }
    Ok(if unlisted.is_empty() { DONE } else { SERVICE })
}

fn write_overview(sync: &SyncOverview, console: &mut Console<'_>) -> Result<(), CommandError> {
    let wanted = |line: &&SnapshotLine| {
        !matches!(line.state, ReplicaState::WithoutSource | ReplicaState::NotSelected | ReplicaState::NotKept)
    };
    let complete = sync.snapshots.iter().filter(|line| line.state == ReplicaState::Complete).count();
    let total = sync.snapshots.iter().filter(wanted).count();
    writeln!(console.out, "sync {} from {}: {complete}/{total} replicas complete", sync.sync, sync.from)?;
    if sync.snapshots.is_empty() {
        return Ok(());
    }
    let header = ["snapshot", "created", "size", "destination", "replica"];
    write_table(console, &header, sync.snapshots.iter().map(line))?;
    Ok(())
}

fn line(line: &SnapshotLine) -> Vec<Cell> {
    let tone = match line.state {
        ReplicaState::Complete => Tone::Success,
        ReplicaState::Copying => Tone::Active,
        ReplicaState::NotSelected | ReplicaState::NotKept => Tone::Muted,
        ReplicaState::Missing | ReplicaState::WithoutSource | ReplicaState::Unknown => Tone::Warning,
        ReplicaState::Failed | ReplicaState::NameTaken => Tone::Error,
    };
    let percent = line.percent.map_or_else(String::new, |percent| format!(" {percent:.0}%"));
    vec![
        line.snapshot.clone().into(),
        view::time(line.created).into(),
        line.size.map_or_else(String::new, |size| HumanBytes(size).to_string()).into(),
        line.destination.clone().into(),
        Cell::toned(tone, format!("{}{percent}", line.state.as_str())),
    ]
}
