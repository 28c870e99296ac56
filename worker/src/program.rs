//! What both programs that run workers do: settings from the configuration, a runtime of modest size, signals.

use std::net::SocketAddr;
use std::time::Duration;

use goldfleet_shared::config::{Config, Coordination, Listen};
use goldfleet_shared::ports::Ports;
use goldfleet_shared::ports::error::{ErrorKind, PortError, PortResult};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::listen::{Listening, listen};
use crate::pump::Pump;
use crate::settings::Settings;
use crate::steps::Shared;
use crate::vitals::Vitals;

/// The release, such as `0.1.0`.
pub const RELEASE: &str = env!("CARGO_PKG_VERSION");

/// The commit, or `unknown`. Set by the build script from `GOLDFLEET_COMMIT` or the local repository.
pub const COMMIT: &str = env!("GOLDFLEET_COMMIT");

/// The program's version and commit, as `--version` shows them.
pub const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("GOLDFLEET_COMMIT"), ")");

/// The longest wait between two looks at an empty queue of the same machine, where looking costs next to nothing.
const LOCAL_POLL: Duration = Duration::from_millis(250);

/// Threads that blocking calls may use: files and SQLite need few, and each holds a stack.
const BLOCKING_THREADS: usize = 12;

/// A worker's settings, from the configuration.
#[must_use]
pub fn settings(config: &Config) -> Settings {
    let worker = &config.worker;
    let lease = worker.lease.get();
    let poll = worker.poll.get();
    Settings {
        name: name(),
        concurrency: worker.concurrency,
        lease,
        skew: Settings::skew_for(lease),
        beat: Settings::beat_for(lease),
        max_attempts: worker.max_attempts,
        retry_base: worker.retry_base.get(),
        retry_cap: worker.retry_cap.get(),
        poll: match config.coordination {
            Coordination::Embedded(_) => poll.min(LOCAL_POLL),
            Coordination::Azure(_) => poll,
        },
        chunk_requests: worker.chunk_requests,
        seed_requests: worker.seed_requests,
        requests: worker.requests,
        detours: worker.detours,
        renew_after: config.cleanup.chunk_grace.get() / 2,
        storage_type: config.images.storage_type,
        exit_when_idle: false,
        listen: worker.listen.map(Listen::address),
    }
}

/// This process by machine and number, for people who read leases and events.
fn name() -> String {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    format!("{host}/{}", std::process::id())
}

/// A runtime whose memory does not grow with the machine.
///
/// # Errors
/// Where the system gives no threads.
pub fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    let threads = std::thread::available_parallelism().map_or(2, |n| n.get().min(4));
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .max_blocking_threads(BLOCKING_THREADS)
        .enable_all()
        .build()
}

/// Works until SIGTERM or SIGINT, or until all queues are empty where the settings say so.
///
/// # Errors
/// Where the queues are not there and can't be made, or nobody may listen where the settings say.
pub async fn work_until_signalled(ports: Ports, settings: Settings) -> PortResult<()> {
    let vitals = Vitals::default();
    let _listening = match settings.listen {
        Some(address) => Some(listening(address, &vitals).await?),
        None => None,
    };
    ports.queue.ensure().await?;
    ports.table.ensure().await?;
    vitals.health.answered();
    let drain = CancellationToken::new();
    tracing::info!(worker = settings.name, concurrency = settings.concurrency, version = VERSION, "begins");
    let pump = Pump::new(Shared::new(ports, settings).with_vitals(vitals.clone()), drain.clone());
    let signals = on_signal(move || {
        tracing::info!("drains: no new work, leases are given back");
        vitals.health.drains();
        drain.cancel();
    });
    pump.run().await;
    signals.abort();
    tracing::info!("ends");
    Ok(())
}

/// Begins to tell how the process fares.
///
/// # Errors
/// Where nobody may listen at the address.
pub async fn listening(address: SocketAddr, vitals: &Vitals) -> PortResult<Listening> {
    listen(address, vitals.clone()).await.map_err(|error| {
        let message = format!("can't listen at {address}: {error}");
        PortError::new(ErrorKind::Unavailable, message).with_code("address-unusable").with_source(error)
    })
}

/// For how long a second signal is taken for the first: some senders, such as timeout(1), signal a process and then its group.
const SAME_SIGNAL: Duration = Duration::from_secs(1);

/// Has the first signal, which may come as soon as this is called, begin an end in good order. A second one ends the program
/// where it is, with exit code 130, as SIGKILL would: nothing is lost, but leases have to run out.
pub fn on_signal(stop: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    let first = signalled();
    tokio::spawn(async move {
        first.await;
        stop();
        tokio::time::sleep(SAME_SIGNAL).await;
        signalled().await;
        std::process::exit(130);
    })
}

/// Returns at SIGTERM or SIGINT, of which the first may come as soon as this is called: it need not be polled for that.
fn signalled() -> impl Future<Output = ()> {
    use tokio::signal::unix::{SignalKind, signal};
    let handlers = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
    async move {
        // A process that can't install a handler keeps the default: the signal ends it at once, and leases run out.
        let (Ok(mut term), Ok(mut int)) = handlers else { return std::future::pending().await };
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
    }
}
