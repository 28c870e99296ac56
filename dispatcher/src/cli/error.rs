//! The errors of commands, and the exit codes of the program.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use goldfleet_config::ConfigError;
use goldfleet_connect::BackendError;
use goldfleet_disk::ConvertError;
use goldfleet_ports::error::{CREDENTIAL_NOT_SET_UP, ErrorKind, PortError};
use goldfleet_runtime::telemetry;

use super::targets::TargetsError;
use crate::control::context::ControlError;
use crate::control::live::LiveSetError;
use crate::control::upload::UploadError;
use crate::dashboard::DashboardError;
use crate::simulate::demo::DemoError;
use crate::simulate::rehearse::RehearsalError;

/// Success.
pub const DONE: u8 = 0;
/// An operation failed.
pub const FAILED: u8 = 1;
/// Invalid usage, configuration or input.
pub const USAGE: u8 = 2;
/// A service refused a request or could not be reached.
pub const SERVICE: u8 = 3;
/// The command was interrupted.
pub const INTERRUPTED: u8 = 130;

/// Why a command ended without a result.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The configuration is not valid.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The log filter is not valid.
    #[error(transparent)]
    Filter(#[from] telemetry::InvalidFilter),
    /// An adapter could not be created.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// A command on the targets file failed.
    #[error(transparent)]
    Targets(#[from] TargetsError),
    /// A command on jobs, images or stores failed.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// An upload failed.
    #[error(transparent)]
    Upload(#[from] UploadError),
    /// A disk image cannot be converted.
    #[error(transparent)]
    Convert(#[from] ConvertError),
    /// The output file is also the input file.
    #[error("{} is one of the files that are read: name another file to write", .0.display())]
    SameFile(PathBuf),
    /// The demonstration failed.
    #[error(transparent)]
    Demo(#[from] DemoError),
    /// The dashboard failed.
    #[error(transparent)]
    Dashboard(#[from] DashboardError),
    /// The dispatcher has no health endpoint.
    #[error("the dispatcher has no health endpoint: `dispatch.listen` is not set")]
    NotListening,
    /// The dispatcher is not healthy.
    #[error("the dispatcher at {at} is not healthy: {source}")]
    Unhealthy {
        /// The address of the health endpoint.
        at: SocketAddr,
        /// What the endpoint answered, or why it did not answer.
        source: io::Error,
    },
    /// No job was named for a command that changes a job.
    #[error("no job given; {open}")]
    NotNamed {
        /// The command.
        command: &'static str,
        /// The open jobs.
        open: String,
    },
    /// The operator did not confirm the command.
    #[error("not confirmed: nothing was changed")]
    Declined,
    /// The code or topic is unknown.
    #[error("{0}")]
    Unknown(String),
    /// The rehearsal failed.
    #[error(transparent)]
    Rehearsal(#[from] RehearsalError),
    /// Standard output could not be written to, or the async runtime could not be started.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Only a plan can be drawn as SVG.
    #[error("only 'goldfleet plan' supports --output svg")]
    NoSvg,
    /// The command was interrupted.
    #[error("interrupted")]
    Interrupted,
}

impl From<PortError> for CommandError {
    fn from(error: PortError) -> Self {
        Self::Control(error.into())
    }
}

impl CommandError {
    /// The program's exit code.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_) | Self::Filter(_) | Self::NoSvg | Self::NotListening => USAGE,
            Self::NotNamed { .. } | Self::Unknown(_) => USAGE,
            Self::Dashboard(DashboardError::Guard(_)) => USAGE,
            Self::Dashboard(DashboardError::Listen { .. }) => SERVICE,
            Self::Unhealthy { .. } => FAILED,
            Self::Rehearsal(RehearsalError::Desk(error)) => error.exit_code(),
            Self::Rehearsal(RehearsalError::NoTargets | RehearsalError::Invalid(_)) => USAGE,
            Self::Rehearsal(RehearsalError::Io(_) | RehearsalError::TimedOut(_)) => FAILED,
            Self::Backend(error) => error.exit_code(),
            Self::Targets(error) => error.exit_code(),
            Self::Control(error) => error.exit_code(),
            Self::Upload(UploadError::Port(error)) if error.is_set_up_fault() => USAGE,
            Self::Upload(UploadError::Port(_)) => SERVICE,
            Self::Upload(UploadError::Expired) => FAILED,
            Self::Upload(UploadError::Interrupted) | Self::Interrupted | Self::Declined => INTERRUPTED,
            Self::Upload(_) => USAGE,
            Self::Convert(ConvertError::Exists(_)) | Self::SameFile(_) => USAGE,
            Self::Convert(_) => FAILED,
            Self::Demo(error) => error.exit_code(),
            Self::Io(_) => FAILED,
        }
    }

    /// What to do next, if the error message does not say it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::NotNamed { command, .. } => {
                return Some(format!(
                    "name the job: goldfleet {command} JOB; an unambiguous prefix of the id is enough"
                ));
            }
            Self::Config(_) => Some(
                "'goldfleet help configuration' describes every key; then 'goldfleet setup' creates what is missing, and \
                 'goldfleet doctor' checks the rest",
            ),
            Self::NotListening => Some("set it in goldfleet.toml, such as listen = \"127.0.0.1:8081\" in [dispatch]"),
            Self::NoSvg => Some("use --output table or --output json"),
            Self::Interrupted => Some("run the same command again to continue"),
            Self::Upload(UploadError::Interrupted) => Some("run the same command again: only what is missing is sent"),
            Self::Upload(UploadError::OtherContent(_)) => Some("'goldfleet images' lists the uploaded versions"),
            Self::Upload(UploadError::Refused(_)) => {
                Some("'goldfleet explain CODE' explains a finding, 'goldfleet help formats' every check")
            }
            Self::Upload(UploadError::Source(refusal)) | Self::Control(ControlError::Source(refusal)) => {
                return Some(uncapitalised(refusal.code.remedy));
            }
            Self::Convert(ConvertError::Exists(_)) => Some("name another file, or replace it with --force"),
            Self::Unhealthy { .. } => {
                Some("'goldfleet dispatcher' starts a dispatcher; the log of a running one has the reason")
            }
            Self::Control(error) | Self::Rehearsal(RehearsalError::Desk(error)) => control_hint(error),
            Self::Upload(UploadError::Port(error)) | Self::Backend(BackendError::Port(error)) => port_hint(error),
            Self::Demo(DemoError::Desk(error)) => control_hint(error),
            _ => None,
        };
        hint.map(str::to_owned)
    }
}

/// A sentence of a table in the form of a hint: with a small first letter.
fn uncapitalised(sentence: &str) -> String {
    let mut letters = sentence.chars();
    let first = letters.next().map(|first| first.to_ascii_lowercase());
    first.into_iter().chain(letters).collect::<String>().trim_end_matches('.').to_owned()
}

fn control_hint(error: &ControlError) -> Option<&'static str> {
    match error {
        ControlError::NoSuchJob(_) | ControlError::NoJobWithPrefix(_) => Some("'goldfleet jobs' lists jobs"),
        ControlError::NoJobs => Some("'goldfleet upload' and 'goldfleet dispatch' create jobs"),
        ControlError::NoSuchImage { .. } => {
            Some("'goldfleet images' lists the uploaded versions, 'goldfleet upload' adds one")
        }
        ControlError::NoTargets { .. } => Some("'goldfleet targets list' lists the targets"),
        ControlError::Illegal(_) => Some("'goldfleet status' shows the job's progress"),
        ControlError::Unlisted(_) => Some(
            "create the resource group, or give the identity the rights that 'goldfleet doctor' lists; nothing was changed",
        ),
        ControlError::TooSlow(_) => Some("allow more time, or omit --within: 'goldfleet plan' shows the fastest plan"),
        ControlError::LiveSet(error) => Some(of_live_set(error)),
        ControlError::Port(error) => port_hint(error),
        ControlError::NotCopied(_) => Some("'goldfleet explain CODE' explains a code"),
        _ => None,
    }
}

fn of_live_set(error: &LiveSetError) -> &'static str {
    match error {
        LiveSetError::Missing(_) | LiveSetError::Empty { .. } => {
            "check [source] in the configuration; if all versions of that store were deleted on purpose, repeat the command \
             with --without-source ACCOUNT/CONTAINER"
        }
        LiveSetError::Unlisted { .. } => {
            "'goldfleet doctor' shows the fault of a store; if it was the source of old jobs and is gone for good, repeat \
             the command with --without-source ACCOUNT/CONTAINER"
        }
        LiveSetError::Unreadable { .. } => {
            "repeat the command if the version was deleted just now; an upload of the same content writes a damaged manifest \
             again; a damaged artifact record is removed with 'goldfleet cleanup --image NAME --version V'; move any other file \
             out of artifacts/ and manifests/; a newer record or manifest needs a newer goldfleet"
        }
        LiveSetError::Earlier(_) => "'goldfleet images' lists all versions that earlier releases uploaded",
        LiveSetError::UnknownVersion { .. } => {
            "run the command with the configuration that the job was dispatched with, or cancel the job"
        }
    }
}

fn port_hint(error: &PortError) -> Option<&'static str> {
    if let Some(hint) = local_hint(&error.code) {
        return Some(hint);
    }
    Some(match error.kind {
        ErrorKind::Denied => {
            "check which identity [cloud] credential selects; 'goldfleet doctor' lists the permissions that it lacks"
        }
        ErrorKind::Locked => "a lock forbids the change: remove the lock in the portal, or with 'az lock delete'",
        ErrorKind::Quota => "a quota of the subscription is used up: delete resources, or request a higher quota",
        ErrorKind::Throttled => "the service limits requests: try again in a minute, or lower `worker.requests`",
        ErrorKind::Unavailable => "check that the service can be reached from this machine, then run the command again",
        ErrorKind::Conflict | ErrorKind::Fenced => {
            "another process changed this at the same time: 'goldfleet status' shows the current state"
        }
        ErrorKind::NotFound => {
            "check the names in [source] and [coordination]; 'goldfleet setup' creates what is missing"
        }
        _ => return None,
    })
}

/// What to do about an error of the local machine that involves no service and no credential.
fn local_hint(code: &str) -> Option<&'static str> {
    Some(match code {
        CREDENTIAL_NOT_SET_UP => {
            "if [cloud] credential is azure-cli or default: install az, and sign in with 'az login'; for other credentials, \
             'goldfleet help configuration' lists what each needs"
        }
        "credential-unavailable" => {
            "check that the sign-in service can be reached, and that the identity that [cloud] credential selects may sign in"
        }
        "disk-full" => "free some disk space, then run the command again",
        "account-unusable" | "database-unusable" => "check the owner of the file, and that you may write to it",
        "database-held" => "end that process, or continue it if it is stopped, then run the command again",
        "database-busy" => {
            "find the process that holds the file open, for example with fuser, then run the command again"
        }
        "database-gone" => "dispatch again what had not ended: targets that have the image are skipped",
        "database-damaged" => {
            "stop every process that uses the file, move it away together with the files that end in -wal and -shm, and \
             dispatch again: targets that have the image are skipped"
        }
        "address-unusable" => "find the process that listens there, or set another address",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_of_this_machine_is_not_reported_as_a_fault_of_a_service() {
        let hint =
            |kind, code: &str| CommandError::from(PortError::new(kind, "").with_code(code)).hint().unwrap_or_default();
        for (kind, code, word) in [
            (ErrorKind::Unavailable, "disk-full", "disk space"),
            (ErrorKind::Denied, "account-unusable", "may write to it"),
            (ErrorKind::Denied, "database-unusable", "may write to it"),
            (ErrorKind::Unavailable, "database-busy", "holds the file open"),
            (ErrorKind::Unavailable, "database-damaged", "move it away"),
            (ErrorKind::Unavailable, "address-unusable", "another address"),
        ] {
            assert!(hint(kind, code).contains(word), "{code}: {}", hint(kind, code));
        }
        for kind in [ErrorKind::Unavailable, ErrorKind::Invalid] {
            let error = || PortError::new(kind, "az is not on PATH").with_code(CREDENTIAL_NOT_SET_UP);
            assert!(hint(kind, CREDENTIAL_NOT_SET_UP).contains("az login"), "{kind:?}");
            for failed in [CommandError::from(error()), CommandError::Upload(error().into())] {
                assert_eq!(failed.exit_code(), USAGE, "{kind:?}");
            }
        }
        assert!(hint(ErrorKind::Unavailable, "server-busy").contains("service"));
        assert!(hint(ErrorKind::Denied, "authorization-failed").contains("credential"));
    }
}
