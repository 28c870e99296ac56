//! What a worker process consists of.

use std::sync::Arc;

use goldfleet_kinds::context::StepContext;
use goldfleet_kinds::registry::Registry;
use goldfleet_ports::Ports;
use goldfleet_runtime::health::Monitor;

use crate::gate_hints::GateHints;
use crate::settings::WorkerSettings;

/// What the parts of a worker share.
#[derive(Clone)]
pub struct WorkerContext {
    /// The adapters.
    pub ports: Ports,
    /// How this worker works.
    pub settings: Arc<WorkerSettings>,
    /// The kinds of operations that it runs.
    pub registry: Registry,
    /// What steps share.
    pub steps: StepContext,
    /// Health and metrics of the process.
    pub monitor: Monitor,
    /// Hints that were sent to the dispatcher.
    pub(crate) hints: Arc<GateHints>,
}

impl WorkerContext {
    /// For a process with these ports and settings, which runs every kind that goldfleet has.
    #[must_use]
    pub fn new(ports: Ports, settings: WorkerSettings) -> Self {
        Self {
            steps: StepContext::new(ports.clone(), settings.steps()),
            ports,
            settings: Arc::new(settings),
            registry: Registry::default(),
            monitor: Monitor::default(),
            hints: Arc::default(),
        }
    }

    /// The same with this monitor.
    #[must_use]
    pub fn with_monitor(self, monitor: Monitor) -> Self {
        Self { steps: self.steps.with_monitor(monitor.clone()), monitor, ..self }
    }

    /// The same with these kinds.
    #[must_use]
    pub fn with_registry(self, registry: Registry) -> Self {
        Self { registry, ..self }
    }
}
