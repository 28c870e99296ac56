//! Liveness: which processes of the fleet have ended without releasing their work.

use async_trait::async_trait;
use goldfleet_model::ids::JobId;
use goldfleet_model::operation::{OperationId, ProcessName};

use super::error::PortResult;

/// Detects the end of other processes, and finds work without a message. An adapter that cannot detect it reports
/// nothing: then the expiry of leases alone decides.
#[async_trait]
pub trait Liveness: Send + Sync {
    /// The name of this process, by which others detect its end. None if they cannot detect it. The first call
    /// registers the process.
    ///
    /// # Errors
    /// If the process cannot be registered.
    async fn own(&self) -> PortResult<Option<ProcessName>>;

    /// The registered processes that have ended.
    ///
    /// # Errors
    /// If they cannot be listed.
    async fn ended(&self) -> PortResult<Vec<ProcessName>>;

    /// Makes the messages visible that a process has received, and removes its registration. Its leases must have been
    /// released.
    ///
    /// # Errors
    /// If the messages cannot be made visible.
    async fn forget(&self, process: &ProcessName) -> PortResult<()>;

    /// The ready operations of a planning attempt for which no message exists. None if that cannot be known.
    ///
    /// # Errors
    /// If the service refuses or cannot be reached.
    async fn without_message(&self, job: &JobId, plan: u32) -> PortResult<Option<Vec<OperationId>>>;
}

/// The liveness of fleets on several machines: the end of a process is not detected.
#[derive(Debug, Clone, Copy, Default)]
pub struct Undetected;

#[async_trait]
impl Liveness for Undetected {
    async fn own(&self) -> PortResult<Option<ProcessName>> {
        Ok(None)
    }

    async fn ended(&self) -> PortResult<Vec<ProcessName>> {
        Ok(Vec::new())
    }

    async fn forget(&self, _: &ProcessName) -> PortResult<()> {
        Ok(())
    }

    async fn without_message(&self, _: &JobId, _: u32) -> PortResult<Option<Vec<OperationId>>> {
        Ok(None)
    }
}
