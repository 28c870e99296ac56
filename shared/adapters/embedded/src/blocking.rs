//! Runs blocking disk I/O.

use goldfleet_ports::error::{ErrorKind, PortError, PortResult};

/// Runs `work`, which blocks on disk I/O, on a thread where it does not delay other tasks. If the caller is cancelled,
/// the work still completes.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> PortResult<T> + Send + 'static,
) -> PortResult<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(failure) => match failure.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(PortError::new(ErrorKind::Unavailable, "the process is ending")),
        },
    }
}
