//! Embedded operation: a dispatcher and a worker in the process of the command that waits for a job.

use goldfleet_worker::consumer::Consumer;
use goldfleet_worker::context::WorkerContext;
use goldfleet_worker::program;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::control::context::ControlContext;
use crate::control::service::{RunUntil, run};

/// A dispatcher and a worker that run in the process of a command.
pub struct LocalFleet {
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

impl LocalFleet {
    /// Starts a dispatcher and a worker.
    #[must_use]
    pub fn start(control: &ControlContext) -> Self {
        let mut local = Self::without_worker(control);
        let shared = WorkerContext::new(control.ports.clone(), program::settings(&control.config))
            .with_monitor(control.jobs.monitor.clone())
            .with_registry(control.jobs.registry.clone());
        let pump = Consumer::new(shared, local.stop.clone());
        local.tasks.push(tokio::spawn(async move { pump.run().await }));
        local
    }

    /// Starts a dispatcher only. Other processes do the work.
    #[must_use]
    pub fn without_worker(control: &ControlContext) -> Self {
        let stop = CancellationToken::new();
        let (serving, serving_stop) = (control.clone(), stop.clone());
        let dispatcher = tokio::spawn(async move { run(&serving, RunUntil::Stopped, &serving_stop).await });
        Self { stop, tasks: vec![dispatcher] }
    }

    /// Stops both, and waits until steps have reached a checkpoint and leases are released.
    pub async fn drain(self) {
        self.stop.cancel();
        for task in self.tasks {
            if let Err(error) = task.await {
                tracing::error!(%error, "a task of the process panicked or was aborted");
            }
        }
    }
}
