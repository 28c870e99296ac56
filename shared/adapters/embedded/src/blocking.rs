//! What waits for a disk, beside all that does not.

use goldfleet_ports::error::{ErrorKind, PortError, PortResult};

/// Runs what waits for a disk where it holds up no other task. What was begun is finished even where the caller is gone.
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
