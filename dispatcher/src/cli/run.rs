//! From arguments to a command's end and its exit code.

use std::sync::Arc;

use goldfleet_shared::backend;
use goldfleet_shared::config::{Config, environment};
use goldfleet_shared::telemetry;
use goldfleet_worker::program;
use tokio_util::sync::CancellationToken;
use tracing::Level;

use super::arguments::{Arguments, Command};
use super::error::{CommandError, DONE};
use super::output::Console;
use super::{check, demo, jobs, rehearse, send, targets};
use crate::desk::Desk;

/// Carries out a command. Returns the exit code.
///
/// # Errors
/// [`CommandError`], which has an exit code too.
pub fn run(arguments: Arguments, console: &mut Console<'_>) -> Result<u8, CommandError> {
    // These need no configuration, or not always.
    match arguments.command {
        Command::Check { file, generation } => return Ok(check::run(&file, generation, console)?),
        Command::Demo(demo) => {
            telemetry::init(&Default::default(), Level::WARN, environment())?;
            return demo::run(&demo, console);
        }
        Command::Rehearse(rehearsal) => return rehearse::run(&rehearsal, arguments.config.as_deref(), console),
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
        Command::Worker { .. }
        | Command::Check { .. }
        | Command::Demo(_)
        | Command::Rehearse(_)
        | Command::Targets(_) => Ok(DONE),
    }
}
