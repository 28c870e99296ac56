//! `cleanup --orphans`.

use goldfleet_model::text::pluralize;

use super::arguments::CleanupArguments;
use super::error::{CommandError, DONE, FAILED};
use super::output::{Console, Output, write_json};
use super::table::{Cell, write_table};
use super::view;
use crate::control::context::ControlContext;
use crate::control::orphans::{OrphanOptions, OrphanReport, OrphanResult, Temporary, orphans};
use crate::terminal::color::Tone;

/// `goldfleet cleanup --orphans`.
///
/// # Errors
/// [`CommandError`].
pub async fn run(
    control: &ControlContext,
    arguments: &CleanupArguments,
    console: &mut Console<'_>,
) -> Result<u8, CommandError> {
    let delete = arguments.yes && !arguments.dry_run;
    let report = orphans(control, &OrphanOptions { delete, ended: arguments.of_job.clone() }).await?;
    if console.output == Output::Json {
        write_json(console.out, &report)?;
    } else {
        write_report(&report, console)?;
    }
    for group in &report.unlisted {
        writeln!(console.notes, "{} was not listed: {}", group.group, group.reason)?;
    }
    if count(&report, OrphanResult::Orphan) > 0 {
        writeln!(console.notes, "to delete orphans: goldfleet cleanup --orphans --yes")?;
    }
    if count(&report, OrphanResult::UnknownJob) > 0 {
        writeln!(
            console.notes,
            "the table does not know some jobs; if you know that one has ended: goldfleet cleanup --orphans --job ID --yes"
        )?;
    }
    let has_failed = count(&report, OrphanResult::Failed) > 0 || !report.unlisted.is_empty();
    Ok(if has_failed { FAILED } else { DONE })
}

fn count(report: &OrphanReport, result: OrphanResult) -> usize {
    report.temporaries.iter().filter(|temporary| temporary.result == result).count()
}

fn write_report(report: &OrphanReport, console: &mut Console<'_>) -> Result<(), CommandError> {
    if !report.temporaries.is_empty() {
        write_table(console, &["temporary", "job", "created", "result"], report.temporaries.iter().map(row))?;
    }
    let (orphans, deleted) = (count(report, OrphanResult::Orphan), count(report, OrphanResult::Deleted));
    let others = report.temporaries.len() - orphans - deleted;
    writeln!(console.out, "{}, {deleted} deleted, {others} other temporaries", pluralize(orphans, "orphan"))?;
    Ok(())
}

fn row(temporary: &Temporary) -> Vec<Cell> {
    let (text, tone) = match temporary.result {
        OrphanResult::Orphan => ("orphan", Tone::Warning),
        OrphanResult::Deleted => ("deleted", Tone::Success),
        OrphanResult::Failed => ("failed", Tone::Error),
        OrphanResult::InUse => ("in use or recent", Tone::Muted),
        OrphanResult::UnknownJob => ("unknown job", Tone::Warning),
    };
    let error = temporary.error.as_ref().map_or_else(String::new, |error| format!(": {error}"));
    vec![
        temporary.id.clone().into(),
        temporary.job.clone().unwrap_or_default().into(),
        temporary.created.map(view::time).unwrap_or_default().into(),
        Cell::toned(tone, format!("{text}{error}")),
    ]
}
