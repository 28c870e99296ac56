//! Runs a command: from its arguments to its exit code.

use std::path::Path;
use std::sync::Arc;

use goldfleet_config::{Config, ConfigError, environment};
use goldfleet_connect::Connection;
use goldfleet_runtime::telemetry;
use goldfleet_runtime::{http, process};
use goldfleet_worker::program;
use tokio_util::sync::CancellationToken;

use super::arguments::{Arguments, Command, DashboardArguments};
use super::error::{CommandError, DONE};
use super::output::{Console, Output};
use super::upload_source::command_again;
use super::{
    check, cleanup, convert, demo, dispatch, doctor, documents, explain, help, images, jobs, logs, machine_jobs, plan,
    plan_from, promote, rehearse, setup, snapshot_jobs, targets, verify, version,
};
use crate::control::check::{ImageChecks, check_acceptable};
use crate::control::context::ControlContext;
use crate::control::operator;
use crate::control::service::{self, RunUntil};
use crate::control::snapshots::schedule;
use crate::control::upload;

/// Runs a command. Returns the exit code.
///
/// # Errors
/// [`CommandError`], which has an exit code too.
pub fn run(arguments: Arguments, console: &mut Console<'_>) -> Result<u8, CommandError> {
    if console.output == Output::Svg
        && !matches!(&arguments.command, Command::Plan { source, .. } if source.from.is_none())
    {
        return Err(CommandError::NoSvg);
    }
    // These commands need no configuration, or need it only in some cases.
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
        Command::Check { files, data, image, destination, disk, inside } => {
            let options = match image {
                Some(image) => disk.options_for(image, &load_config(arguments.config.as_deref())?),
                None => disk.options(),
            };
            let checks = ImageChecks { destination: *destination, ..inside.checks(options) };
            return check::run(files, data, &checks, console);
        }
        Command::Convert(arguments) => return convert::run(arguments, console),
        Command::Demo(demo) => {
            let _telemetry = telemetry::init(&Default::default(), "warn", environment())?;
            return demo::run(demo, console);
        }
        Command::Rehearse(rehearsal) => return rehearse::run(rehearsal, arguments.config.as_deref(), console),
        _ => {}
    }
    let config = load_config(arguments.config.as_deref())?;
    let filter = default_filter(&arguments);
    let _telemetry = telemetry::init(&config.log, &filter, environment())?;
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
    // A blocking read whose result is no longer needed must not delay the exit.
    runtime.shutdown_background();
    ended
}

/// Reads the configuration.
///
/// # Errors
/// [`ConfigError`].
pub fn load_config(path: Option<&Path>) -> Result<Config, ConfigError> {
    Config::load_and_check(path, environment(), &check_acceptable)
}

/// The default log filter.
fn default_filter(arguments: &Arguments) -> String {
    match &arguments.command {
        Command::Dispatcher { .. } | Command::Worker { .. } | Command::Dashboard(_) => "info".to_owned(),
        _ if arguments.verbose => "info".to_owned(),
        // These commands do the work in this process, and their results include the failures of operations.
        Command::Upload(_) | Command::Dispatch(_) | Command::Retry(_) | Command::Snapshots(_) | Command::Vm(_) => {
            format!("error,{}=warn", upload::LOG_TARGET)
        }
        _ => "warn".to_owned(),
    }
}

/// The actor that events record for the command. For a service, this is the name of the service.
async fn who(command: &Command, config: &Config, connection: Option<&Connection>) -> String {
    match command {
        Command::Dispatcher { .. } => format!("dispatcher {}", operator::operator()),
        Command::Dashboard(_) => format!("dashboard {}", operator::operator()),
        // The token that names the principal is needed for the requests of the command in any case.
        _ => {
            let needs_token = config.azure_coordination().is_some() || uses_cloud(command);
            operator::signed_in(connection.filter(|_| needs_token)).await
        }
    }
}

/// Whether a command sends requests to the cloud, wherever queues and tables are.
fn uses_cloud(command: &Command) -> bool {
    match command {
        Command::Retry(retry) => retry.wait,
        Command::Upload(_)
        | Command::Dispatch(_)
        | Command::Promote(_)
        | Command::Snapshots(_)
        | Command::Vm(_)
        | Command::Verify(_)
        | Command::Cleanup(_) => true,
        _ => false,
    }
}

async fn with_ports(command: Command, config: Config, console: &mut Console<'_>) -> Result<u8, CommandError> {
    let connection = goldfleet_connect::connect(&config)?;
    let ports = goldfleet_connect::open_with_connection(&config, connection.as_ref())?;
    if let Command::Worker { exit_when_idle, concurrency } = command {
        let mut settings = program::settings(&config);
        settings.exit_when_idle = exit_when_idle;
        settings.concurrency = concurrency.map_or(settings.concurrency, usize::from);
        program::work_until_signalled(ports, settings).await?;
        return Ok(DONE);
    }
    let stop = CancellationToken::new();
    let stopping = stop.clone();
    process::on_stop_signal(move || stopping.cancel());
    let who = tokio::select! {
        who = who(&command, &config, connection.as_ref()) => who,
        () = stop.cancelled() => return Err(CommandError::Interrupted),
    };
    let command_line = matches!(command, Command::Upload(_)).then(|| command_again(std::env::args()));
    let control = ControlContext { command: command_line, ..ControlContext::new(ports, Arc::new(config), who) };
    match command {
        // These commands report each item that cannot be created or reached.
        Command::Setup(arguments) => run_interruptible(&stop, setup::run(&control, &arguments, console)).await,
        // A probe must clean up after an interruption, so it is not dropped.
        Command::Doctor(arguments) if !arguments.probe.is_empty() => {
            doctor::probe(&control, &arguments, console, &stop).await
        }
        Command::Doctor(arguments) => run_interruptible(&stop, doctor::run(&control, &arguments, console)).await,
        command => {
            // On Azure, `setup` creates queues and tables. Other commands then need neither the permission nor the
            // requests.
            if control.config.azure_coordination().is_none() || matches!(command, Command::Dispatcher { .. }) {
                control.ports.queue.ensure().await?;
                control.ports.table.ensure().await?;
            }
            with_tables(&control, command, console, &stop).await
        }
    }
}

/// Runs a command that uses queues and tables, which exist.
async fn with_tables(
    control: &ControlContext,
    command: Command,
    console: &mut Console<'_>,
    stop: &CancellationToken,
) -> Result<u8, CommandError> {
    match command {
        Command::Upload(arguments) => dispatch::upload_command(control, &arguments, console, stop).await,
        Command::Plan { source, image, selection, within } => {
            let selection = selection.selectors();
            match dispatch::platform_request(&control.ports, &source, &image)? {
                Some(request) => run_interruptible(stop, plan_from::run(control, &request, &selection, console)).await,
                None => run_interruptible(stop, plan::plan_command(control, &image, &selection, within, console)).await,
            }
        }
        Command::Dispatch(arguments) => dispatch::dispatch_command(control, &arguments, console, stop).await,
        Command::Dispatcher { exit_when_idle } => dispatcher(control, exit_when_idle, stop).await,
        Command::Promote(arguments) => run_interruptible(stop, promote::run(control, &arguments, console)).await,
        Command::Snapshots(command) => snapshot_jobs::run(control, &command, console, stop).await,
        Command::Vm(command) => machine_jobs::run(control, &command, console, stop).await,
        Command::Dashboard(arguments) => dashboard(control, arguments, console, stop).await,
        Command::Images(arguments) => run_interruptible(stop, images::run(control, &arguments, console)).await,
        Command::Jobs(arguments) => run_interruptible(stop, jobs::list(&control.jobs, &arguments, console)).await,
        Command::Status(arguments) => {
            let watch = arguments.watch;
            let shown = jobs::status_command(control, &arguments, console, stop);
            if watch { shown.await } else { run_interruptible(stop, shown).await }
        }
        Command::Logs(arguments) => {
            let follow = arguments.follow;
            let shown = logs::run(control, &arguments, console, stop);
            if follow { shown.await } else { run_interruptible(stop, shown).await }
        }
        Command::Approve(arguments) => {
            run_interruptible(stop, jobs::approve_command(control, &arguments, console)).await
        }
        Command::Retry(arguments) => {
            let wait = arguments.wait;
            let retried = jobs::retry_command(control, &arguments, console, stop);
            if wait { retried.await } else { run_interruptible(stop, retried).await }
        }
        Command::Cancel(arguments) => run_interruptible(stop, jobs::cancel_command(control, &arguments, console)).await,
        Command::Verify(arguments) => run_interruptible(stop, verify::run(control, &arguments, console)).await,
        Command::Cleanup(arguments) => run_interruptible(stop, cleanup::run(control, &arguments, console)).await,
        // These commands need no tables.
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
        | Command::Setup(_)
        | Command::Doctor(_) => Ok(DONE),
    }
}

/// `goldfleet dispatcher`.
async fn dispatcher(
    control: &ControlContext,
    exit_when_idle: bool,
    stop: &CancellationToken,
) -> Result<u8, CommandError> {
    let _listening = match control.config.dispatch.listen {
        Some(at) => Some(process::start_http_listener(at.address(), &control.jobs.monitor).await?),
        None => None,
    };
    let until = if exit_when_idle { RunUntil::Idle } else { RunUntil::Stopped };
    tokio::select! {
        () = service::run(control, until, stop) => {}
        never = schedule::run(control), if !exit_when_idle => match never {},
    }
    Ok(DONE)
}

/// Runs a command that may be dropped at any point: each of its changes is complete, and running the command again
/// finishes the rest.
async fn run_interruptible(
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
    http::query_health(at).map(|()| DONE).map_err(|source| CommandError::Unhealthy { at, source })
}

async fn dashboard(
    control: &ControlContext,
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
    crate::dashboard::serve(control.clone(), &options, stop, begun).await?;
    Ok(DONE)
}
