//! Selects the job that a command works on. A command that changes a job never guesses.

use std::fmt::Write as _;
use std::str::FromStr;

use goldfleet_model::ids::JobId;
use goldfleet_model::job::Job;
use goldfleet_model::text::pluralize;
use goldfleet_ports::Versioned;

use super::error::CommandError;
use super::output::Console;
use crate::control::context::{ControlContext, ControlError};
use crate::control::job_store::JobStore;
use crate::control::status::status;

/// The length of a complete job id, such as `20261121-041502-7f3a`. See [`JobId::new`].
const WHOLE: usize = 20;

/// How many matching or open jobs an error message lists.
const LISTED: usize = 5;

/// A job id, or a prefix of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobPrefix(JobId);

impl FromStr for JobPrefix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self).map_err(|_| {
            "use a job id such as '20261121-041502-7f3a', or an unambiguous prefix of one ('goldfleet jobs' lists them)"
                .to_owned()
        })
    }
}

/// The job whose id is or starts with `prefix`.
///
/// # Errors
/// [`ControlError::NoSuchJob`] if no id matches, [`ControlError::Refused`] if several match.
pub async fn find(control: &ControlContext, JobPrefix(prefix): &JobPrefix) -> Result<Versioned<Job>, ControlError> {
    // A complete id costs one read, no matter how many jobs there are.
    if let Some(job) = control.ports.table.job(prefix).await? {
        return Ok(job);
    }
    if prefix.as_str().len() >= WHOLE {
        return Err(ControlError::NoSuchJob(prefix.clone()));
    }
    let mut matches = control.ports.table.list_jobs().await?.rows;
    matches.retain(|job| job.value.id.as_str().starts_with(prefix.as_str()));
    match matches.len() {
        0 => Err(ControlError::NoJobWithPrefix(prefix.to_string())),
        1 => Ok(matches.remove(0)),
        _ => {
            let message = format!(
                "job prefix '{prefix}' is ambiguous: {} match:{}",
                jobs(matches.len()),
                list(&control.jobs, &matches).await?
            );
            Err(ControlError::Refused(message))
        }
    }
}

/// The job that a command shows: the named one, or the newest.
///
/// # Errors
/// [`ControlError`] if there is no such job, or if the prefix is ambiguous.
pub async fn shown(control: &ControlContext, given: Option<&JobPrefix>) -> Result<Versioned<Job>, ControlError> {
    match given {
        Some(prefix) => find(control, prefix).await,
        None => control.jobs.job_or_newest(None).await,
    }
}

/// The job that a command changes: the named one, or the only open job after the operator confirmed it.
///
/// # Errors
/// [`CommandError::NotNamed`] if no job is named and there is not exactly one open job, or if no operator can be asked;
/// [`CommandError::Declined`] if the operator answers no.
pub async fn changed(
    control: &ControlContext,
    command: &'static str,
    given: Option<&JobPrefix>,
    yes: bool,
    console: &mut Console<'_>,
) -> Result<Versioned<Job>, CommandError> {
    if let Some(prefix) = given {
        return Ok(find(control, prefix).await?);
    }
    let mut open = Vec::new();
    for job in control.ports.table.list_open_jobs().await?.rows {
        if control.jobs.has_unfinished_work(&job.value).await? {
            open.push(job);
        }
    }
    if open.len() != 1 {
        return Err(CommandError::NotNamed { command, open: describe_open(control, &open).await? });
    }
    let job = open.remove(0);
    if yes {
        writeln!(console.notes, "{command}: {} is the only open job", describe(&job.value))?;
        return Ok(job);
    }
    match console.confirm(&format!("{command} {}?", describe(&job.value))).await? {
        Some(true) => Ok(job),
        Some(false) => Err(CommandError::Declined),
        None => Err(CommandError::NotNamed { command, open: describe_open(control, &[job]).await? }),
    }
}

fn describe(job: &Job) -> String {
    format!("job {} ({})", job.id, job.subject)
}

async fn describe_open(control: &ControlContext, open: &[Versioned<Job>]) -> Result<String, ControlError> {
    Ok(match open {
        [] => "no job is open".to_owned(),
        [only] => format!("open: {}", describe(&only.value)),
        many => format!("{} are open:{}", jobs(many.len()), list(&control.jobs, many).await?),
    })
}

fn jobs(count: usize) -> String {
    pluralize(count, "job")
}

/// The first few jobs, one per line, with the states that `jobs` shows.
async fn list(store: &JobStore, jobs: &[Versioned<Job>]) -> Result<String, ControlError> {
    let mut text = String::new();
    for job in jobs.iter().take(LISTED) {
        let state = status(store, &job.value).await?.shown_state();
        // Writing to a string does not fail.
        let _ = write!(text, "\n  {} ({}, {state})", job.value.id, job.value.subject);
    }
    if jobs.len() > LISTED {
        let _ = write!(text, "\n  and {} more", jobs.len() - LISTED);
    }
    Ok(text)
}
