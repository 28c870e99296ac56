//! From arguments to a command's end and its exit code.

use std::io;
use std::sync::Arc;

use goldfleet_shared::backend::{self, BackendError};
use goldfleet_shared::config::{Config, ConfigError, environment};
use goldfleet_shared::ports::error::PortError;
use goldfleet_shared::telemetry;
use goldfleet_worker::program;
use tokio_util::sync::CancellationToken;
use tracing::Level;

use super::arguments::{Arguments, Command};
use super::output::Console;
use super::targets::TargetsError;
use super::{check, demo, jobs, send, targets};
use crate::desk::{Desk, DeskError};
use crate::upload::UploadError;

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
    Demo(#[from] crate::demo::DemoError),
    /// Standard output, or the runtime.
    #[error(transparent)]
    Io(#[from] io::Error),
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
            Self::Config(_) | Self::Filter(_) => USAGE,
            Self::Backend(error) => error.exit_code(),
            Self::Targets(error) => error.exit_code(),
            Self::Desk(error) => error.exit_code(),
            Self::Upload(UploadError::Port(_)) => SERVICE,
            Self::Upload(UploadError::Interrupted) | Self::Interrupted => INTERRUPTED,
            Self::Upload(_) => USAGE,
            Self::Demo(error) => error.exit_code(),
            // Whoever read the output has seen enough of it.
            Self::Io(error) if error.kind() == io::ErrorKind::BrokenPipe => DONE,
            Self::Io(_) => FAILED,
        }
    }
}

/// Carries out a command. Returns the exit code.
///
/// # Errors
/// [`CommandError`], which has an exit code too.
pub fn run(arguments: Arguments, console: &mut Console<'_>) -> Result<u8, CommandError> {
    // These two need no configuration.
    match arguments.command {
        Command::Check { file, generation } => return Ok(check::run(&file, generation, console)?),
        Command::Demo(demo) => {
            telemetry::init(&Default::default(), Level::WARN, environment())?;
            return demo::run(&demo, console);
        }
        _ => {}
    }
    let config = Config::load(arguments.config.as_deref(), environment())?;
    let level = match arguments.command {
        Command::Dispatcher { .. } | Command::Worker { .. } => Level::INFO,
        _ => Level::WARN,
    };
    telemetry::init(&config.log, level, environment())?;
    if let Command::Targets(command) = arguments.command {
        targets::run(command, &config, console)?;
        return Ok(DONE);
    }
    let runtime = program::runtime()?;
    let ended = runtime.block_on(with_ports(arguments.command, config, console));
    // Blocking reads that nobody waits for any more must not hold the program up.
    runtime.shutdown_background();
    ended
}

async fn with_ports(command: Command, config: Config, console: &mut Console<'_>) -> Result<u8, CommandError> {
    let ports = backend::open(&config)?;
    if let Command::Worker { exit_when_idle, concurrency } = command {
        let mut settings = program::settings(&config);
        settings.exit_when_idle = exit_when_idle;
        settings.concurrency = concurrency.map_or(settings.concurrency, usize::from);
        program::work_until_signalled(ports, settings).await?;
        return Ok(DONE);
    }
    ports.queue.ensure().await?;
    ports.table.ensure().await?;
    let desk = Desk { ports, config: Arc::new(config), who: format!("goldfleet/{}", std::process::id()) };
    let stop = CancellationToken::new();
    let signalled = stop.clone();
    tokio::spawn(async move {
        program::signalled().await;
        signalled.cancel();
    });
    match command {
        Command::Upload(arguments) => send::upload_command(&desk, &arguments, console, &stop).await,
        Command::Plan { image, targets } => send::plan_command(&desk, &image, &targets, console).await,
        Command::Dispatch { image, targets, wait } => {
            send::dispatch_command(&desk, &image, &targets, wait, console, &stop).await
        }
        Command::Dispatcher { exit_when_idle } => {
            crate::service::serve(&desk, exit_when_idle, &stop).await;
            Ok(DONE)
        }
        Command::Jobs => jobs::list(&desk, console).await,
        Command::Status { job, watch, failed } => {
            jobs::status_command(&desk, job.as_ref(), watch, failed, console, &stop).await
        }
        Command::Logs { job, operation } => jobs::logs(&desk, job.as_ref(), operation.as_deref(), console).await,
        Command::Retry { job, phase, targets, wait } => {
            let which = crate::retry::Which { phase, targets };
            jobs::retry_command(&desk, job.as_ref(), &which, wait, console, &stop).await
        }
        Command::Cancel { job } => jobs::cancel_command(&desk, job.as_ref(), console).await,
        Command::Cleanup(arguments) => jobs::cleanup_command(&desk, &arguments, console).await,
        Command::Worker { .. } | Command::Check { .. } | Command::Demo(_) | Command::Targets(_) => Ok(DONE),
    }
}
