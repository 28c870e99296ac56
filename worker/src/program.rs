//! What both programs that run workers do: settings from the configuration, and work until a signal.

use std::time::Duration;

use goldfleet_config::{Config, Coordination, Listen};
use goldfleet_ports::Ports;
use goldfleet_ports::error::PortResult;
use goldfleet_runtime::process::{VERSION, listening, on_signal};
use goldfleet_runtime::vitals::Vitals;
use tokio_util::sync::CancellationToken;

use crate::pump::Pump;
use crate::settings::Settings;
use crate::steps::Shared;

/// The longest wait between two looks at an empty queue of the same machine, where looking costs next to nothing.
const LOCAL_POLL: Duration = Duration::from_millis(250);

/// A worker's settings, from the configuration.
#[must_use]
pub fn settings(config: &Config) -> Settings {
    let worker = &config.worker;
    let lease = worker.lease.get();
    let poll = worker.poll.get();
    Settings {
        name: name(),
        concurrency: worker.concurrency,
        lease,
        skew: Settings::skew_for(lease),
        beat: Settings::beat_for(lease),
        max_attempts: worker.max_attempts,
        retry_base: worker.retry_base.get(),
        retry_cap: worker.retry_cap.get(),
        poll: match config.coordination {
            Coordination::Embedded(_) => poll.min(LOCAL_POLL),
            Coordination::Azure(_) => poll,
        },
        chunk_requests: worker.chunk_requests,
        seed_requests: worker.seed_requests,
        requests: worker.requests,
        detours: worker.detours,
        clone_and_patch: worker.clone_and_patch,
        renew_after: config.cleanup.chunk_grace.get() / 2,
        storage_type: config.images.storage_type,
        exit_when_idle: false,
        listen: worker.listen.map(Listen::address),
    }
}

/// This process by machine and number, for people who read leases and events.
fn name() -> String {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    format!("{host}/{}", std::process::id())
}

/// Works until SIGTERM or SIGINT, or until all queues are empty where the settings say so.
///
/// # Errors
/// Where the queues are not there and can't be made, or nobody may listen where the settings say.
pub async fn work_until_signalled(ports: Ports, settings: Settings) -> PortResult<()> {
    let vitals = Vitals::default();
    let _listening = match settings.listen {
        Some(address) => Some(listening(address, &vitals).await?),
        None => None,
    };
    ports.queue.ensure().await?;
    ports.table.ensure().await?;
    vitals.health.answered();
    let drain = CancellationToken::new();
    tracing::info!(worker = settings.name, concurrency = settings.concurrency, version = VERSION, "begins");
    let pump = Pump::new(Shared::new(ports, settings).with_vitals(vitals.clone()), drain.clone());
    let signals = on_signal(move || {
        tracing::info!("drains: no new work, leases are given back");
        vitals.health.drains();
        drain.cancel();
    });
    pump.run().await;
    signals.abort();
    tracing::info!("ends");
    Ok(())
}
