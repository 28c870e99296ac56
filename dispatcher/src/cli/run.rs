//! From arguments to a command's end and its exit code.

use std::sync::Arc;

use goldfleet_config::{Config, environment};
use goldfleet_runtime::telemetry;
use goldfleet_runtime::{listen, process};
use goldfleet_worker::program;
use tokio_util::sync::CancellationToken;
use tracing::Level;

use super::arguments::{Arguments, Command, DashboardArguments};
use super::error::{CommandError, DONE};
use super::output::{Console, Output};
use super::{check, demo, doctor, documents, jobs, plan, rehearse, send, setup, targets, verify};
use crate::control::desk::Desk;
use crate::control::service::{Until, serve};

/// Carries out a command. Returns the exit code.
///
/// # Errors
/// [`CommandError`], which has an exit code too.
pub fn run(arguments: Arguments, console: &mut Console<'_>) -> Result<u8, CommandError> {
    if console.output == Output::Svg && !matches!(arguments.command, Command::Plan { .. }) {
        return Err(CommandError::NoPicture);
    }
    // These need no configuration, or not always.
    match arguments.command {
        Command::Completions { shell } => {
            documents::completions(shell, console)?;
            return Ok(DONE);
        }
        Command::Man { folder } => {
            documents::manual(&folder, console)?;
            return Ok(DONE);
        }
        Command::Check { file, generation } => return Ok(check::run(&file, generation, console)?),
        Command::Demo(demo) => {
            let _telemetry = telemetry::init(&Default::default(), Level::WARN, environment())?;
            return demo::run(&demo, console);
        }
        Command::Rehearse(rehearsal) => return rehearse::run(&rehearsal, arguments.config.as_deref(), console),
        _ => {}
    }
    let config = Config::load(arguments.config.as_deref(), environment())?;
    let level = match arguments.command {
        Command::Dispatcher { .. } | Command::Worker { .. } | Command::Dashboard(_) => Level::INFO,
        _ => Level::WARN,
    };
    let _telemetry = telemetry::init(&config.log, level, environment())?;
    if let Command::Targets(command) = arguments.command {
        targets::run(command, &config, console)?;
        return Ok(DONE);
    }
    if let Command::Health = arguments.command {
        return health(&config);
    }
    let runtime = process::runtime()?;
    let ended = runtime.block_on(with_ports(arguments.command, config, console));
    // Blocking reads that nobody waits for any more must not hold the program up.
    runtime.shutdown_background();
    ended
}

async fn with_ports(command: Command, config: Config, console: &mut Console<'_>) -> Result<u8, CommandError> {
    let ports = goldfleet_connect::open(&config)?;
    if let Command::Worker { exit_when_idle, concurrency } = command {
        let mut settings = program::settings(&config);
        settings.exit_when_idle = exit_when_idle;
        settings.concurrency = concurrency.map_or(settings.concurrency, usize::from);
        program::work_until_signalled(ports, settings).await?;
        return Ok(DONE);
    }
    let desk = Desk::new(ports, Arc::new(config), format!("goldfleet/{}", std::process::id()));
    // It tells what can't be made thing by thing.
    match command {
        Command::Setup => return setup::run(&desk, console).await,
        Command::Doctor => return doctor::run(&desk, console).await,
        _ => {}
    }
    // On Azure `setup` makes queues and tables: whoever only looks at a job need not be allowed to, nor ask each time.
    if desk.config.azure_coordination().is_none() || matches!(command, Command::Dispatcher { .. }) {
        desk.ports.queue.ensure().await?;
        desk.ports.table.ensure().await?;
    }
    let stop = CancellationToken::new();
    let stopping = stop.clone();
    process::on_signal(move || stopping.cancel());
    match command {
        Command::Upload(arguments) => send::upload_command(&desk, &arguments, console, &stop).await,
        Command::Plan { image, targets, within } => {
            unless(&stop, plan::plan_command(&desk, &image, &targets, within, console)).await
        }
        Command::Dispatch { image, targets, approve, wait } => {
            let wanted = send::Wanted { selection: targets, approve, wait };
            send::dispatch_command(&desk, &image, &wanted, console, &stop).await
        }
        Command::Dispatcher { exit_when_idle } => {
            let _listening = match desk.config.dispatch.listen {
                Some(at) => Some(process::listening(at.address(), &desk.vitals).await?),
                None => None,
            };
            serve(&desk, if exit_when_idle { Until::Idle } else { Until::Stopped }, &stop).await;
            Ok(DONE)
        }
        Command::Dashboard(arguments) => dashboard(&desk, arguments, console, &stop).await,
        Command::Jobs => unless(&stop, jobs::list(&desk, console)).await,
        Command::Status { job, watch, failed } => {
            let shown = jobs::status_command(&desk, job.as_ref(), watch, failed, console, &stop);
            if watch { shown.await } else { unless(&stop, shown).await }
        }
        Command::Logs { job, operation } => {
            unless(&stop, jobs::logs(&desk, job.as_ref(), operation.as_deref(), console)).await
        }
        Command::Approve { job, ring, by } => {
            unless(&stop, jobs::approve_command(&desk, job.as_ref(), ring, by.as_deref(), console)).await
        }
        Command::Retry { job, phase, targets, wait } => {
            let which = crate::control::retry::Which { phase, targets };
            jobs::retry_command(&desk, job.as_ref(), &which, wait, console, &stop).await
        }
        Command::Cancel { job } => unless(&stop, jobs::cancel_command(&desk, job.as_ref(), console)).await,
        Command::Verify(arguments) => unless(&stop, verify::run(&desk, &arguments, console)).await,
        Command::Cleanup(arguments) => unless(&stop, jobs::cleanup_command(&desk, &arguments, console)).await,
        Command::Worker { .. }
        | Command::Health
        | Command::Completions { .. }
        | Command::Man { .. }
        | Command::Check { .. }
        | Command::Demo(_)
        | Command::Rehearse(_)
        | Command::Targets(_)
        | Command::Setup
        | Command::Doctor => Ok(DONE),
    }
}

/// Carries out what may be left at any moment: each change is whole, and the same command makes the rest.
async fn unless(
    stop: &CancellationToken,
    command: impl Future<Output = Result<u8, CommandError>>,
) -> Result<u8, CommandError> {
    tokio::select! {
        ended = command => ended,
        () = stop.cancelled() => Err(CommandError::Interrupted),
    }
}

fn health(config: &Config) -> Result<u8, CommandError> {
    let at = config.dispatch.listen.ok_or(CommandError::NotListening)?.address();
    listen::ask(at).map(|()| DONE).map_err(|source| CommandError::Unwell { at, source })
}

async fn dashboard(
    desk: &Desk,
    arguments: DashboardArguments,
    console: &mut Console<'_>,
    stop: &CancellationToken,
) -> Result<u8, CommandError> {
    let DashboardArguments { listen, token_file, hosts } = arguments;
    let options = crate::dashboard::Options { listen, token_file, hosts };
    let begun = |address| {
        // Whoever does not see it has no terminal, and needs it no less for that.
        let _ = writeln!(console.notes, "the dashboard is at http://{address}/");
    };
    crate::dashboard::serve(desk.clone(), &options, stop, begun).await?;
    Ok(DONE)
}
