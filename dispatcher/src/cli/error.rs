//! Why a command ended without its result, and what the program exits with.

use std::io;
use std::net::SocketAddr;

use goldfleet_config::ConfigError;
use goldfleet_connect::BackendError;
use goldfleet_ports::error::{ErrorKind, PortError};
use goldfleet_runtime::telemetry;

use super::targets::TargetsError;
use crate::control::desk::DeskError;
use crate::control::live::LiveSetError;
use crate::control::upload::UploadError;
use crate::dashboard::DashboardError;
use crate::simulate::demo::DemoError;
use crate::simulate::rehearse::RehearsalError;

/// All done.
pub const DONE: u8 = 0;
/// Some operation failed.
pub const FAILED: u8 = 1;
/// Bad usage, configuration or input.
pub const USAGE: u8 = 2;
/// A service refused or could not be reached.
pub const SERVICE: u8 = 3;
/// Interrupted.
pub const INTERRUPTED: u8 = 130;

/// Why a command ended without its result.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The log filter.
    #[error(transparent)]
    Filter(#[from] telemetry::BadFilter),
    /// The adapters.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// The targets file.
    #[error(transparent)]
    Targets(#[from] TargetsError),
    /// Jobs.
    #[error(transparent)]
    Desk(#[from] DeskError),
    /// The upload.
    #[error(transparent)]
    Upload(#[from] UploadError),
    /// The demonstration.
    #[error(transparent)]
    Demo(#[from] DemoError),
    /// The dashboard.
    #[error(transparent)]
    Dashboard(#[from] DashboardError),
    /// The dispatcher tells nobody how it is.
    #[error("the dispatcher tells nobody how it is: set dispatch.listen, such as '127.0.0.1:8081'")]
    NotListening,
    /// The dispatcher is not well.
    #[error("the dispatcher at {at} is not well: {source}")]
    Unwell {
        /// Where it was asked.
        at: SocketAddr,
        /// What it answered, if it did.
        source: io::Error,
    },
    /// The rehearsal.
    #[error(transparent)]
    Rehearsal(#[from] RehearsalError),
    /// Standard output, or the runtime.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Only a plan can be drawn.
    #[error("only 'goldfleet plan' can be shown as svg: use --output table or json")]
    NoPicture,
    /// Asked to stop.
    #[error("interrupted; the same command goes on where this one stopped")]
    Interrupted,
}

impl From<PortError> for CommandError {
    fn from(error: PortError) -> Self {
        Self::Desk(error.into())
    }
}

impl CommandError {
    /// The program's exit code.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_) | Self::Filter(_) | Self::NoPicture | Self::NotListening => USAGE,
            Self::Dashboard(DashboardError::Guard(_)) => USAGE,
            Self::Dashboard(DashboardError::Listen { .. }) => SERVICE,
            Self::Unwell { .. } => FAILED,
            Self::Rehearsal(RehearsalError::Desk(error)) => error.exit_code(),
            Self::Rehearsal(RehearsalError::NoTargets | RehearsalError::Invalid(_)) => USAGE,
            Self::Rehearsal(RehearsalError::Io(_) | RehearsalError::Endless(_)) => FAILED,
            Self::Backend(error) => error.exit_code(),
            Self::Targets(error) => error.exit_code(),
            Self::Desk(error) => error.exit_code(),
            Self::Upload(UploadError::Port(_)) => SERVICE,
            Self::Upload(UploadError::Lapsed) => FAILED,
            Self::Upload(UploadError::Interrupted) | Self::Interrupted => INTERRUPTED,
            Self::Upload(_) => USAGE,
            Self::Demo(error) => error.exit_code(),
            Self::Io(_) => FAILED,
        }
    }

    /// What to do next, where the error itself does not say it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::Config(_) => {
                "docs/configuration.md tells every key; once it is right, 'goldfleet setup' makes what is missing, and \
                 'goldfleet doctor' looks whether all is well"
            }
            Self::Upload(UploadError::OtherContent(_)) => "'goldfleet jobs' shows which versions were dispatched",
            Self::Unwell { .. } => "'goldfleet dispatcher' starts one; its log says why it does not turn",
            Self::Desk(error) | Self::Rehearsal(RehearsalError::Desk(error)) => return of_desk(error),
            Self::Upload(UploadError::Port(error)) | Self::Backend(BackendError::Port(error)) => return of_port(error),
            Self::Demo(DemoError::Desk(error)) => return of_desk(error),
            _ => return None,
        })
    }
}

fn of_desk(error: &DeskError) -> Option<&'static str> {
    match error {
        DeskError::Illegal(_) => Some("'goldfleet status' shows how far it is, 'goldfleet jobs' what else there is"),
        DeskError::TooSlow(_) => Some("give it longer, or leave --within out: 'goldfleet plan' shows what speed costs"),
        DeskError::LiveSet(error) => Some(of_live_set(error)),
        DeskError::Port(error) => of_port(error),
        _ => None,
    }
}

fn of_live_set(error: &LiveSetError) -> &'static str {
    match error {
        LiveSetError::Missing(_) | LiveSetError::Empty { .. } => {
            "check [source] in the configuration; if all versions of that store were given up on purpose, repeat the command \
             with --without-source ACCOUNT/CONTAINER"
        }
        LiveSetError::Unlisted { .. } => {
            "'goldfleet doctor' shows what is wrong with a store; if it was the source of old jobs and is gone for good, repeat \
             the command with --without-source ACCOUNT/CONTAINER"
        }
        LiveSetError::Unreadable { .. } => {
            "repeat the command if the version was given up just now; a damaged manifest is removed with 'goldfleet cleanup \
             --image NAME --version V'; move any other file out of manifests/; a newer manifest needs a newer goldfleet"
        }
        LiveSetError::UnknownVersion { .. } => {
            "run the command with the configuration that the job was dispatched with, or cancel the job"
        }
    }
}

fn of_port(error: &PortError) -> Option<&'static str> {
    if let Some(hint) = of_machine(&error.code) {
        return Some(hint);
    }
    Some(match error.kind {
        ErrorKind::Denied => {
            "see who [cloud] credential is; 'goldfleet doctor' tells which rights that identity lacks, and where"
        }
        ErrorKind::Throttled => "the service is asked too much: try again in a minute, or lower worker.requests",
        ErrorKind::Unavailable => "see whether the service can be reached from here; the same command goes on then",
        ErrorKind::Conflict | ErrorKind::Fenced => "someone else is at it: 'goldfleet status' shows how far it is",
        ErrorKind::NotFound => {
            "see whether [source] and [coordination] name what is there; 'goldfleet setup' makes what is missing"
        }
        _ => return None,
    })
}

/// What to do about what lies on this machine: there no service is to be reached, and no credential asked for.
fn of_machine(code: &str) -> Option<&'static str> {
    Some(match code {
        "disk-full" => "make room on that disk; the same command goes on then",
        "account-unusable" | "database-unusable" => "see who owns it, and whether you may write there",
        "database-busy" => "see who holds it open, such as by 'fuser'; the same command goes on then",
        "database-gone" => "what was done is found done: dispatch again what had not ended",
        "database-damaged" => {
            "stop what uses it, move it away with the files beside it that end in -wal and -shm, and dispatch again: \
             targets that have the image are skipped"
        }
        "address-unusable" => "see who listens there, or set another address",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_on_this_machine_is_not_blamed_on_a_service() {
        let hint = |kind, code: &str| CommandError::from(PortError::new(kind, "").with_code(code)).hint().unwrap_or("");
        for (kind, code, word) in [
            (ErrorKind::Unavailable, "disk-full", "make room"),
            (ErrorKind::Denied, "account-unusable", "may write"),
            (ErrorKind::Denied, "database-unusable", "may write"),
            (ErrorKind::Unavailable, "database-busy", "holds it open"),
            (ErrorKind::Unavailable, "database-damaged", "move it away"),
            (ErrorKind::Unavailable, "address-unusable", "another address"),
        ] {
            assert!(hint(kind, code).contains(word), "{code}: {}", hint(kind, code));
        }
        assert!(hint(ErrorKind::Unavailable, "server-busy").contains("service"));
        assert!(hint(ErrorKind::Denied, "authorization-failed").contains("credential"));
    }
}
