//! Workers that can be killed: each has a separate runtime, which ends with all its tasks.

use goldfleet_dispatcher::control::service::{RunUntil, run};
use goldfleet_model::ids::JobId;
use goldfleet_ports::Ports;
use goldfleet_tests::fleet::InProcessFleet;
use goldfleet_worker::consumer::Consumer;
use goldfleet_worker::context::WorkerContext;
use goldfleet_worker::settings::WorkerSettings;
use tokio::runtime::{Builder, Runtime};
use tokio_util::sync::CancellationToken;

use super::scene::TOO_LONG;

/// A worker. It is killed when it is dropped.
pub(crate) struct Worker(Option<Runtime>);

impl Worker {
    pub(crate) fn start(fleet: &InProcessFleet, ports: &Ports, name: usize) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let settings = WorkerSettings { name: format!("worker-{name}"), ..fleet.settings() };
        let consumer = Consumer::new(WorkerContext::new(ports.clone(), settings), CancellationToken::new());
        runtime.spawn(async move { consumer.run().await });
        Self(Some(runtime))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// Runs a dispatcher while `meanwhile` runs.
pub(crate) async fn with_dispatcher<T>(fleet: &InProcessFleet, meanwhile: impl Future<Output = T>) -> T {
    let (control, stop) = (fleet.control_with_own_ports(), CancellationToken::new());
    let until = stop.clone();
    let dispatcher = tokio::spawn(async move { run(&control, RunUntil::Stopped, &until).await });
    let result = meanwhile.await;
    stop.cancel();
    dispatcher.await.unwrap();
    result
}

/// Waits until a job has ended.
pub(crate) async fn ended(fleet: &InProcessFleet, job: &JobId) {
    let ended = async {
        while !fleet.ports.table.job(job).await.unwrap().unwrap().value.state.is_terminal() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(TOO_LONG * 5, ended).await.expect("the job did not end");
}
