//! Arguments of the commands that show and change jobs.

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use clap_complete::ArgValueCandidates;
use goldfleet_kinds::registry::Registry;
use goldfleet_model::ids::{ImageName, ImageVersion, JobId};
use goldfleet_model::job::JobState;
use goldfleet_model::operation::KindId;
use goldfleet_model::store::Container;

use super::selection::SelectionArguments;
use crate::cli::choose::JobPrefix;
use crate::cli::complete;

/// The job that a command shows.
#[derive(Debug, Args)]
pub struct ShownJob {
    /// Job id or an unambiguous prefix of one [default: the newest job]
    #[arg(value_name = "JOB", add = ArgValueCandidates::new(complete::jobs))]
    pub job: Option<JobPrefix>,
}

/// The job that a command changes.
#[derive(Debug, Args)]
pub struct ChangedJob {
    /// Job id or an unambiguous prefix of one; without it, the command asks whether to use the only open job
    #[arg(value_name = "JOB", add = ArgValueCandidates::new(complete::jobs))]
    pub job: Option<JobPrefix>,
    /// Use the only open job without asking
    #[arg(long, short = 'y')]
    pub yes: bool,
}

/// Arguments of `jobs`.
#[derive(Debug, Args)]
pub struct JobsArguments {
    /// Show at most this many jobs, the newest first; 0 shows all
    #[arg(long, short = 'n', value_name = "COUNT", default_value_t = 50)]
    pub limit: usize,
    /// Show only jobs of this image
    #[arg(long, value_name = "NAME", add = ArgValueCandidates::new(complete::images))]
    pub image: Option<ImageName>,
    /// Show only jobs in this state; can be given several times or with commas
    #[arg(long = "state", value_name = "STATE", value_parser = job_state(), value_delimiter = ',')]
    pub states: Vec<JobState>,
}

/// Arguments of `status`.
#[derive(Debug, Args)]
pub struct StatusArguments {
    /// The job.
    #[command(flatten)]
    pub job: ShownJob,
    /// Update the display until the job has ended
    #[arg(long, short = 'w')]
    pub watch: bool,
    /// Show only failures, all of them
    #[arg(long)]
    pub failed: bool,
}

/// Arguments of `logs`.
#[derive(Debug, Args)]
pub struct LogsArguments {
    /// The job.
    #[command(flatten)]
    pub job: ShownJob,
    /// Show only operations whose id, or kind and place, contains this text, such as 'copy 0000'
    #[arg(long, value_name = "TEXT")]
    pub operation: Option<String>,
    /// Show only operations that failed
    #[arg(long)]
    pub failed: bool,
    /// Print new events as they happen, until the job has ended
    #[arg(long, short = 'f')]
    pub follow: bool,
}

/// Arguments of `approve`.
#[derive(Debug, Args)]
pub struct ApproveArguments {
    /// The job.
    #[command(flatten)]
    pub job: ChangedJob,
    /// Approve only if this ring is the next one
    #[arg(long, value_name = "NUMBER")]
    pub ring: Option<u32>,
    /// Record this name as the approver, together with the operator who runs the command
    #[arg(long, value_name = "NAME", value_parser = name)]
    pub by: Option<String>,
}

/// Arguments of `retry`.
#[derive(Debug, Args)]
pub struct RetryArguments {
    /// The job.
    #[command(flatten)]
    pub job: ChangedJob,
    /// Retry only operations of this kind
    #[arg(long, value_name = "KIND", value_parser = kind())]
    pub phase: Option<KindId>,
    /// Which targets.
    #[command(flatten)]
    pub selection: SelectionArguments,
    /// Wait until the job has ended; with embedded coordination, this process does the work
    #[arg(long)]
    pub wait: bool,
}

/// Arguments of `cleanup`.
#[derive(Debug, Args)]
pub struct CleanupArguments {
    /// Delete the staged VHDs of this job: its id or an unambiguous prefix
    #[arg(value_name = "JOB", add = ArgValueCandidates::new(complete::jobs), required_unless_present_any = ["chunks", "image", "history", "orphans"])]
    pub job: Option<JobPrefix>,
    /// Delete chunks that no manifest refers to and that are older than `cleanup.chunk_grace`
    #[arg(long, conflicts_with_all = ["job", "image", "version"])]
    pub chunks: bool,
    /// Delete a version of this image: its artifact record now, its manifests and chunks by the next `--chunks`;
    /// managed images stay
    #[arg(long, value_name = "NAME", requires = "version", conflicts_with = "job", add = ArgValueCandidates::new(complete::images))]
    pub image: Option<ImageName>,
    /// The version to delete
    #[arg(long, value_name = "VERSION", requires = "image", add = ArgValueCandidates::new(complete::versions))]
    pub version: Option<ImageVersion>,
    /// Delete the table rows of jobs that ended more than this many days ago and that nothing needs
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(1..),
        conflicts_with_all = ["job", "image", "version", "chunks"])]
    pub history: Option<u32>,
    /// List temporary disks and snapshots that ended jobs left behind; with --yes, delete them
    #[arg(long, conflicts_with_all = ["job", "image", "version", "chunks", "history"])]
    pub orphans: bool,
    /// With --orphans: delete them
    #[arg(long, requires = "orphans")]
    pub yes: bool,
    /// With --orphans: a job that the table does not know, and that you know to have ended
    #[arg(long = "job", value_name = "ID", requires = "orphans")]
    pub of_job: Option<JobId>,
    /// Show what would be deleted, and delete nothing
    #[arg(long)]
    pub dry_run: bool,
    /// With --chunks: continue although this source store has no manifests (or is gone, if it is not the configured
    /// one), because all its versions were deleted; can be given several times
    #[arg(long, value_name = "ACCOUNT/CONTAINER", requires = "chunks")]
    pub without_source: Vec<Container>,
}

/// A name that terminals and web pages show.
fn name(text: &str) -> Result<String, String> {
    if text.trim().is_empty() || text.chars().count() > 100 || text.chars().any(char::is_control) {
        return Err("use 1 to 100 characters without control characters".to_owned());
    }
    Ok(text.to_owned())
}

/// A remark about a job, such as a ticket number.
pub(super) fn note(text: &str) -> Result<String, String> {
    if text.chars().count() > 500 || text.chars().any(char::is_control) {
        return Err("use at most 500 characters without control characters".to_owned());
    }
    Ok(text.to_owned())
}

fn kind() -> impl clap::builder::TypedValueParser<Value = KindId> {
    let registry = Registry::default();
    let ids: Vec<&'static str> = registry.ids().collect();
    PossibleValuesParser::new(ids).try_map(|name| name.parse::<KindId>())
}

fn job_state() -> impl clap::builder::TypedValueParser<Value = JobState> {
    PossibleValuesParser::new(JobState::ALL.map(JobState::as_str)).try_map(|name| {
        let state = JobState::ALL.into_iter().find(|state| state.as_str() == name);
        state.ok_or("not a job state")
    })
}
