//! The context that the parts of a worker share.

use std::sync::Arc;

use goldfleet_kinds::context::StepContext;
use goldfleet_kinds::registry::Registry;
use goldfleet_ports::Ports;
use goldfleet_runtime::health::Monitor;

use crate::gate_hints::GateHints;
use crate::settings::WorkerSettings;

/// The context that the parts of a worker share.
#[derive(Clone)]
pub struct WorkerContext {
    /// The adapters.
    pub ports: Ports,
    /// The settings of the worker.
    pub settings: Arc<WorkerSettings>,
    /// The kinds of operations that the worker runs.
    pub registry: Registry,
    /// The context of steps.
    pub steps: StepContext,
    /// Health and metrics of the process.
    pub monitor: Monitor,
    /// The hints that were sent to the dispatcher.
    pub(crate) hints: Arc<GateHints>,
}

impl WorkerContext {
    /// Creates a context with these ports and settings and with all kinds of goldfleet.
    #[must_use]
    pub fn new(ports: Ports, settings: WorkerSettings) -> Self {
        Self {
            steps: StepContext::new(ports.clone(), settings.steps.clone()),
            ports,
            settings: Arc::new(settings),
            registry: Registry::default(),
            monitor: Monitor::default(),
            hints: Arc::default(),
        }
    }

    /// Returns the same context with another monitor.
    #[must_use]
    pub fn with_monitor(self, monitor: Monitor) -> Self {
        Self { steps: self.steps.with_monitor(monitor.clone()), monitor, ..self }
    }

    /// Returns the same context with other kinds.
    #[must_use]
    pub fn with_registry(self, registry: Registry) -> Self {
        Self { registry, ..self }
    }
}
