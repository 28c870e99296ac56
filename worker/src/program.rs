//! The common code of the programs that run workers: settings from the configuration, and running until a signal.

use std::time::Duration;

use goldfleet_config::{Config, Coordination, ListenAddress};
use goldfleet_kinds::context::StepSettings;
use goldfleet_ports::Ports;
use goldfleet_ports::clock::LONGEST_WAIT;
use goldfleet_ports::error::PortResult;
use goldfleet_runtime::health::Monitor;
use goldfleet_runtime::process::{VERSION, on_stop_signal, start_http_listener};
use tokio_util::sync::CancellationToken;

use crate::consumer::Consumer;
use crate::context::WorkerContext;
use crate::settings::WorkerSettings;

/// The maximum wait between two polls of an empty queue on the same machine, where a poll is very cheap.
const MAX_LOCAL_POLL: Duration = Duration::from_millis(250);

/// The settings of a worker from the configuration.
#[must_use]
pub fn settings(config: &Config) -> WorkerSettings {
    let worker = &config.worker;
    let lease = worker.lease.get();
    let poll = worker.poll.get();
    WorkerSettings {
        name: process_name(),
        concurrency: worker.concurrency,
        lease,
        visibility: WorkerSettings::VISIBILITY,
        clock_skew: WorkerSettings::skew_for(lease),
        max_attempts: worker.max_attempts,
        retry_base: worker.retry_base.get(),
        retry_cap: worker.retry_cap.get(),
        longest_wait: LONGEST_WAIT.max(worker.retry_cap.get()).max(worker.max_retry_after.get()),
        poll: match config.coordination {
            Coordination::Embedded(_) => poll.min(MAX_LOCAL_POLL),
            Coordination::Azure(_) => poll,
        },
        steps: StepSettings {
            heartbeat: WorkerSettings::heartbeat_for(lease),
            chunk_requests: worker.chunk_requests,
            seed_requests: worker.seed_requests,
            requests: worker.requests,
            detours: worker.detours,
            clone_and_patch: worker.clone_and_patch,
            renew_after: config.cleanup.chunk_grace.get() / 2,
            storage_type: config.images.storage_type,
            data_disk_caching: config.images.data_disk_caching,
            image_tags: config.images.tags.clone(),
        },
        exit_when_idle: false,
        listen: worker.listen.map(ListenAddress::address),
    }
}

/// The machine and process id of this process, shown to operators in leases and events.
fn process_name() -> String {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    format!("{host}/{}", std::process::id())
}

/// Runs until SIGTERM or SIGINT, or until all queues are empty if the settings say so.
///
/// # Errors
/// If the queues do not exist and cannot be created, or the configured address cannot be listened on.
pub async fn work_until_signalled(ports: Ports, settings: WorkerSettings) -> PortResult<()> {
    let monitor = Monitor::default();
    let _listening = match settings.listen {
        Some(address) => Some(start_http_listener(address, &monitor).await?),
        None => None,
    };
    ports.queue.ensure().await?;
    ports.table.ensure().await?;
    monitor.health.coordination_reached();
    let drain = CancellationToken::new();
    tracing::info!(worker = settings.name, concurrency = settings.concurrency, version = VERSION, "begins");
    let pump = Consumer::new(WorkerContext::new(ports, settings).with_monitor(monitor.clone()), drain.clone());
    let signals = on_stop_signal(move || {
        tracing::info!(
            "draining: no new operations are claimed; running steps stop at a checkpoint and release their leases"
        );
        monitor.health.set_draining();
        drain.cancel();
    });
    pump.run().await;
    signals.abort();
    tracing::info!("ends");
    Ok(())
}
