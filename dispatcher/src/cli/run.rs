//! Runs a command: from its arguments to its exit code.

use std::sync::Arc;

use goldfleet_config::{Config, environment};
use goldfleet_connect::{BackendError, Connection};
use goldfleet_runtime::telemetry;
use goldfleet_runtime::{listen, process};
use goldfleet_worker::program;
use tokio_util::sync::CancellationToken;

use super::arguments::{Arguments, Command, DashboardArguments};
use super::error::{CommandError, DONE};
use super::output::{Console, Output};
use super::{
    check, cleanup, convert, demo, doctor, documents, explain, help, images, jobs, logs, plan, rehearse, send, setup,
    targets, verify, version,
};
use crate::control::desk::Desk;
use crate::control::operator;
use crate::control::service::{Until, serve};

/// Runs a command. Returns the exit code.
///
/// # Errors
/// [`CommandError`], which has an exit code too.
pub fn run(arguments: Arguments, console: &mut Console<'_>) -> Result<u8, CommandError> {
    if console.output == Output::Svg && !matches!(arguments.command, Command::Plan { .. }) {
        return Err(CommandError::NoPicture);
    }
    // These need no configuration, or not always.
    match &arguments.command {
        Command::Completions { shell } => {
            documents::completions(*shell, console)?;
            return Ok(DONE);
        }
        Command::Man { folder } => {
            documents::manual(folder, console)?;
            return Ok(DONE);
        }
        Command::Help { words } => return help::run(words, console),
        Command::Version => return version::run(console),
        Command::Explain { code } => return explain::run(code.as_deref(), console),
        Command::Check { files, disk, inside } => {
            return Ok(check::run(files, &inside.checks(disk.options()), console)?);
        }
        Command::Convert(arguments) => return convert::run(arguments, console),
        Command::Demo(demo) => {
            let _telemetry = telemetry::init(&Default::default(), "warn", environment())?;
            return demo::run(demo, console);
        }
        Command::Rehearse(rehearsal) => return rehearse::run(rehearsal, arguments.config.as_deref(), console),
        _ => {}
    }
    let config = Config::load(arguments.config.as_deref(), environment())?;
    let filter = default_filter(&arguments);
    let _telemetry = telemetry::init(&config.log, filter, environment())?;
    if let Some(file) = &config.file {
        tracing::info!(file = %file.display(), "configuration");
    }
    if let Command::Targets(command) = arguments.command {
        targets::run(command, &config, console)?;
        return Ok(DONE);
    }
    if let Command::Health = arguments.command {
        return health(&config);
    }
    let runtime = process::runtime()?;
    let ended = runtime.block_on(with_ports(arguments.command, config, console));
    // A blocking read that nobody waits for any more must not delay the exit.
    runtime.shutdown_background();
    ended
}

/// What is logged where nothing else is configured.
fn default_filter(arguments: &Arguments) -> &'static str {
    match &arguments.command {
        Command::Dispatcher { .. } | Command::Worker { .. } | Command::Dashboard(_) => "info",
        _ if arguments.verbose => "info",
        // The work is done in this process, and the failures of operations are part of the result.
        Command::Upload(_) | Command::Dispatch { .. } | Command::Retry(_) => "error,goldfleet_dispatcher::upload=warn",
        _ => "warn",
    }
}

/// Who runs the command, as events record it. Services are named as such.
async fn who(command: &Command, config: &Config, connection: Option<&Connection>) -> String {
    match command {
        Command::Dispatcher { .. } => format!("dispatcher {}", operator::operator()),
        Command::Dashboard(_) => format!("dashboard {}", operator::operator()),
        // With Azure coordination, each command's first request needs the token that names the principal.
        _ => operator::signed_in(connection.filter(|_| config.azure_coordination().is_some())).await,
    }
}

async fn with_ports(command: Command, config: Config, console: &mut Console<'_>) -> Result<u8, CommandError> {
    let connection = config.identity().as_ref().map(Connection::open).transpose().map_err(BackendError::from)?;
    let ports = goldfleet_connect::open_over(&config, connection.as_ref())?;
    if let Command::Worker { exit_when_idle, concurrency } = command {
        let mut settings = program::settings(&config);
        settings.exit_when_idle = exit_when_idle;
        settings.concurrency = concurrency.map_or(settings.concurrency, usize::from);
        program::work_until_signalled(ports, settings).await?;
        return Ok(DONE);
    }
    let stop = CancellationToken::new();
    let stopping = stop.clone();
    process::on_signal(move || stopping.cancel());
    let who = tokio::select! {
        who = who(&command, &config, connection.as_ref()) => who,
        () = stop.cancelled() => return Err(CommandError::Interrupted),
    };
    let desk = Desk::new(ports, Arc::new(config), who);
    // These report what cannot be created or reached, item by item.
    match command {
        Command::Setup => return unless(&stop, setup::run(&desk, console)).await,
        Command::Doctor => return unless(&stop, doctor::run(&desk, console)).await,
        _ => {}
    }
    // On Azure, `setup` creates queues and tables: other commands need neither the permission nor the requests.
    if desk.config.azure_coordination().is_none() || matches!(command, Command::Dispatcher { .. }) {
        desk.ports.queue.ensure().await?;
        desk.ports.table.ensure().await?;
    }
    match command {
        Command::Upload(arguments) => send::upload_command(&desk, &arguments, console, &stop).await,
        Command::Plan { image, selection, within } => {
            unless(&stop, plan::plan_command(&desk, &image, &selection.selectors(), within, console)).await
        }
        Command::Dispatch { image, selection, job } => {
            send::dispatch_command(&desk, &image, &selection, &job, console, &stop).await
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
        Command::Images(arguments) => unless(&stop, images::run(&desk, &arguments, console)).await,
        Command::Jobs(arguments) => unless(&stop, jobs::list(&desk, &arguments, console)).await,
        Command::Status(arguments) => {
            let watch = arguments.watch;
            let shown = jobs::status_command(&desk, &arguments, console, &stop);
            if watch { shown.await } else { unless(&stop, shown).await }
        }
        Command::Logs(arguments) => {
            let follow = arguments.follow;
            let shown = logs::run(&desk, &arguments, console, &stop);
            if follow { shown.await } else { unless(&stop, shown).await }
        }
        Command::Approve(arguments) => unless(&stop, jobs::approve_command(&desk, &arguments, console)).await,
        Command::Retry(arguments) => {
            let wait = arguments.wait;
            let retried = jobs::retry_command(&desk, &arguments, console, &stop);
            if wait { retried.await } else { unless(&stop, retried).await }
        }
        Command::Cancel(arguments) => unless(&stop, jobs::cancel_command(&desk, &arguments, console)).await,
        Command::Verify(arguments) => unless(&stop, verify::run(&desk, &arguments, console)).await,
        Command::Cleanup(arguments) => unless(&stop, cleanup::run(&desk, &arguments, console)).await,
        // Carried out before.
        Command::Worker { .. }
        | Command::Health
        | Command::Help { .. }
        | Command::Version
        | Command::Explain { .. }
        | Command::Completions { .. }
        | Command::Man { .. }
        | Command::Check { .. }
        | Command::Convert(_)
        | Command::Demo(_)
        | Command::Rehearse(_)
        | Command::Targets(_)
        | Command::Setup
        | Command::Doctor => Ok(DONE),
    }
}

/// Runs a command that may be dropped at any moment: each of its changes is complete, and the same command does the rest.
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
        // A failed write to standard error is no reason to stop.
        let _ = writeln!(console.notes, "dashboard: http://{address}/");
    };
    crate::dashboard::serve(desk.clone(), &options, stop, begun).await?;
    Ok(DONE)
}
