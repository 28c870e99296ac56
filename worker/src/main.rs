//! `goldfleet-worker`: runs operations until it is stopped.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;
use goldfleet_config::{Config, environment};
use goldfleet_runtime::error_chain::error_chain;
use goldfleet_runtime::telemetry;
use goldfleet_runtime::{http, process};
use goldfleet_worker::arguments::{Arguments, Command};
use goldfleet_worker::program;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Ended { code, error }) => {
            let error = error_chain(error.as_ref());
            if tracing::dispatcher::has_been_set() {
                tracing::error!("{error}");
            } else {
                // The logger could not be initialized, so the error is written to stderr.
                let _ = writeln!(std::io::stderr(), "goldfleet-worker: {error}");
            }
            ExitCode::from(code)
        }
    }
}

struct Ended {
    code: u8,
    error: anyhow::Error,
}

fn run(arguments: &Arguments) -> Result<(), Ended> {
    let usage = |error| Ended { code: 2, error };
    let loaded = Config::load(arguments.config.as_deref(), environment());
    let log = loaded.as_ref().map(|config| config.log.clone()).unwrap_or_default();
    let _telemetry = telemetry::init(&log, "info", environment()).map_err(|error| usage(error.into()))?;
    let config = loaded.map_err(|error| usage(error.into()))?;
    if let Some(Command::Health) = arguments.command {
        return health(&config);
    }
    let mut settings = program::settings(&config);
    settings.exit_when_idle = arguments.exit_when_idle;
    settings.concurrency = arguments.concurrency.map_or(settings.concurrency, usize::from);
    let runtime = process::runtime().context("the runtime cannot start").map_err(|error| Ended { code: 3, error })?;
    runtime.block_on(async {
        let ports =
            goldfleet_connect::open(&config).map_err(|error| Ended { code: error.exit_code(), error: error.into() })?;
        program::work_until_signalled(ports, settings)
            .await
            .map_err(|error| Ended { code: if error.is_set_up_fault() { 2 } else { 3 }, error: error.into() })
    })
}

fn health(config: &Config) -> Result<(), Ended> {
    let Some(at) = config.worker.listen else {
        let error = anyhow::anyhow!("no health endpoint: set worker.listen, such as '127.0.0.1:8080'");
        return Err(Ended { code: 2, error });
    };
    http::query_health(at.address())
        .with_context(|| format!("the worker at {at} is not healthy"))
        .map_err(|error| Ended { code: 1, error })
}
