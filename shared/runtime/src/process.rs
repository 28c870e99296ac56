//! The process of a goldfleet program: version, runtime, health endpoint, signals.

use std::net::SocketAddr;
use std::time::Duration;

use goldfleet_ports::error::{ErrorKind, PortError, PortResult};
use tokio::task::JoinHandle;

use crate::health::Monitor;
use crate::http::{HttpListener, serve};

/// The release, such as `0.1.0`.
pub const RELEASE: &str = env!("CARGO_PKG_VERSION");

/// The commit, or `unknown`. Set by the build script from `GOLDFLEET_COMMIT` or the local repository.
pub const COMMIT: &str = env!("GOLDFLEET_COMMIT");

/// The program's version and commit, as `--version` shows them.
pub const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("GOLDFLEET_COMMIT"), ")");

/// The maximum number of threads for blocking calls. Files and SQLite need few of them, and each has its own stack.
const BLOCKING_THREADS: usize = 12;

/// Creates a runtime whose memory use does not grow with the number of CPUs.
///
/// # Errors
/// If the system cannot create threads.
pub fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    let threads = std::thread::available_parallelism().map_or(2, |n| n.get().min(4));
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .max_blocking_threads(BLOCKING_THREADS)
        .enable_all()
        .build()
}

/// Starts the HTTP endpoint for health and metrics.
///
/// # Errors
/// If the address cannot be used.
pub async fn start_http_listener(address: SocketAddr, monitor: &Monitor) -> PortResult<HttpListener> {
    serve(address, monitor.clone()).await.map_err(|error| {
        let message = format!("can't listen at {address}: {error}");
        PortError::new(ErrorKind::Unavailable, message).with_code("address-unusable").with_source(error)
    })
}

/// The time in which a second signal is ignored as a duplicate: some senders, such as timeout(1), signal a process and
/// then its process group.
const SIGNAL_DEDUP_WINDOW: Duration = Duration::from_secs(1);

/// Calls `stop` at the first signal, for an orderly shutdown. Signals are caught from the time of this call. A second
/// signal ends the program immediately with exit code 130. As after SIGKILL, nothing is lost, but leases must expire.
pub fn on_stop_signal(stop: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    let first = next_signal();
    tokio::spawn(async move {
        first.await;
        stop();
        tokio::time::sleep(SIGNAL_DEDUP_WINDOW).await;
        next_signal().await;
        std::process::exit(130);
    })
}

/// Returns at SIGTERM or SIGINT. Signals are caught from the time of this call, even before the future is polled.
fn next_signal() -> impl Future<Output = ()> {
    use tokio::signal::unix::{SignalKind, signal};
    let handlers = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
    async move {
        // If no handler can be installed, the default applies: a signal ends the process immediately, and leases
        // expire.
        let (Ok(mut term), Ok(mut int)) = handlers else { return std::future::pending().await };
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
    }
}
