//! What a program of goldfleet does as a process: its version, its runtime, its health endpoint, its signals.

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

/// Threads that blocking calls may use: files and SQLite need few, and each holds a stack.
const BLOCKING_THREADS: usize = 12;

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

/// Begins to tell how the process fares.
///
/// # Errors
/// Where nobody may listen at the address.
pub async fn start_http_listener(address: SocketAddr, monitor: &Monitor) -> PortResult<HttpListener> {
    serve(address, monitor.clone()).await.map_err(|error| {
        let message = format!("can't listen at {address}: {error}");
        PortError::new(ErrorKind::Unavailable, message).with_code("address-unusable").with_source(error)
    })
}

/// For how long a second signal is taken for the first: some senders, such as timeout(1), signal a process and then its group.
const SIGNAL_DEDUP_WINDOW: Duration = Duration::from_secs(1);

/// Has the first signal, which may come as soon as this is called, begin an end in good order. A second one ends the program
/// where it is, with exit code 130, as SIGKILL would: nothing is lost, but leases have to run out.
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

/// Returns at SIGTERM or SIGINT, of which the first may come as soon as this is called: it need not be polled for that.
fn next_signal() -> impl Future<Output = ()> {
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
