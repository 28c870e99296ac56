//! One machine: the dispatcher and a worker in the process of the command that waits for a job.

use goldfleet_worker::program;
use goldfleet_worker::pump::Pump;
use goldfleet_worker::steps::Shared;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::control::desk::Desk;
use crate::control::service::{Until, serve};

/// A dispatcher and a worker that run beside a command.
pub struct Local {
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

impl Local {
    /// Starts a dispatcher and a worker.
    #[must_use]
    pub fn start(desk: &Desk) -> Self {
        let mut local = Self::without_worker(desk);
        let shared = Shared::new(desk.ports.clone(), program::settings(&desk.config)).with_vitals(desk.vitals.clone());
        let pump = Pump::new(shared, local.stop.clone());
        local.tasks.push(tokio::spawn(async move { pump.run().await }));
        local
    }

    /// Starts a dispatcher, where others do the work.
    #[must_use]
    pub fn without_worker(desk: &Desk) -> Self {
        let stop = CancellationToken::new();
        let (serving, serving_stop) = (desk.clone(), stop.clone());
        let dispatcher = tokio::spawn(async move { serve(&serving, Until::Stopped, &serving_stop).await });
        Self { stop, tasks: vec![dispatcher] }
    }

    /// Asks all to stop, and waits until steps have reached a checkpoint and leases are given back.
    pub async fn drain(self) {
        self.stop.cancel();
        for task in self.tasks {
            if let Err(error) = task.await {
                tracing::error!(%error, "a part of the process ended badly");
            }
        }
    }
}
