//! One machine: the dispatcher and a worker in the process of the command that waits for a job.

use goldfleet_worker::program;
use goldfleet_worker::pump::Pump;
use goldfleet_worker::steps::Shared;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::desk::Desk;
use crate::service::serve;

/// A dispatcher and a worker that run beside a command.
pub struct Local {
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

impl Local {
    /// Starts a dispatcher and, unless others do the work, a worker.
    #[must_use]
    pub fn start(desk: &Desk, with_worker: bool) -> Self {
        let stop = CancellationToken::new();
        let mut tasks = Vec::new();
        let (serving, serving_stop) = (desk.clone(), stop.clone());
        tasks.push(tokio::spawn(async move { serve(&serving, false, &serving_stop).await }));
        if with_worker {
            let settings = program::settings(&desk.config);
            let pump =
                Pump::new(Shared::new(desk.ports.clone(), settings).with_vitals(desk.vitals.clone()), stop.clone());
            tasks.push(tokio::spawn(async move { pump.run().await }));
        }
        Self { stop, tasks }
    }

    /// Asks both to stop, and waits until steps have reached a checkpoint and leases are given back.
    pub async fn drain(self) {
        self.stop.cancel();
        for task in self.tasks {
            if let Err(error) = task.await {
                tracing::error!(%error, "a part of the process ended badly");
            }
        }
    }
}
