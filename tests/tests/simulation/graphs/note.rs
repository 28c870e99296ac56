//! The kind that the graphs consist of. It has no effect outside its row.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use goldfleet_kinds::attempt_error::AttemptError;
use goldfleet_kinds::context::{Attempt, write_spec};
use goldfleet_kinds::kind::{Kind, Probe};
use goldfleet_kinds::outcome::{StepError, StepOutcome};
use goldfleet_kinds::registry::Registry;
use goldfleet_model::message::QueueName;
use goldfleet_model::operation::Operation;
use goldfleet_ports::Ports;
use goldfleet_ports::error::{ErrorKind, PortError, PortResult};

use crate::faults::FaultInjector;

/// The kinds, one for each queue.
pub(super) const KINDS: [&str; 3] = ["note-seed", "note-copy", "note-image"];

/// A kind that only newer programs know.
pub(super) const LATER: &str = "note-later";

/// What the attempts of all kinds share.
pub(super) struct Notes {
    pub(super) faults: Arc<FaultInjector>,
    /// Whether attempts may still fail.
    pub(super) may_fail: AtomicBool,
}

/// A kind with this id.
struct Note(&'static str, Arc<Notes>);

/// The kinds that a program knows.
pub(super) fn registry(notes: &Arc<Notes>, with_later: bool) -> Registry {
    let known = KINDS.into_iter().chain(with_later.then_some(LATER));
    known.fold(Registry::default(), |registry, id| registry.with(Note(id, Arc::clone(notes))))
}

#[async_trait]
impl Kind for Note {
    fn id(&self) -> &'static str {
        self.0
    }

    fn queue(&self) -> QueueName {
        match self.0 {
            "note-seed" => QueueName::Seed,
            "note-copy" => QueueName::Copy,
            _ => QueueName::Image,
        }
    }

    fn title(&self) -> &'static str {
        "Notes"
    }

    async fn probe(&self, _ports: &Ports, _operation: &Operation) -> PortResult<Probe> {
        Ok(Probe::Done)
    }

    async fn run(&self, attempt: Attempt<'_>) -> Result<StepOutcome, StepError> {
        let Notes { faults, may_fail } = self.1.as_ref();
        let (rng, clock) = (&faults.rng, &attempt.shared.ports.clock);
        for _ in 0..rng.number(0..4) {
            attempt.lease.ensure_held()?;
            clock.sleep(rng.millis(0..8000)).await;
        }
        attempt.lease.ensure_held()?;
        if may_fail.load(Ordering::Relaxed) {
            match rng.number(0..100) {
                0..10 => return Ok(StepOutcome::RequeueAfter(rng.seconds(1..30))),
                10..20 => return Err(PortError::new(ErrorKind::Unavailable, "a service does not answer").into()),
                20..24 => return Err(AttemptError::fatal("note-refused", "it cannot be written").into()),
                _ => {}
            }
        }
        if rng.chance(0.3) {
            attempt.lease.put_output(write_spec(&attempt.operation.id.to_string())).await?;
        }
        Ok(StepOutcome::Done)
    }
}

#[test]
fn registry_knows_the_later_kind_only_if_asked() {
    let notes = |rng| Notes { faults: FaultInjector::new(rng, crate::trace::Trace::new(false)), may_fail: true.into() };
    let notes = Arc::new(notes(crate::rng::SimRng::new(1)));
    let later = LATER.parse().unwrap();
    assert!(registry(&notes, false).get(&later).is_none() && registry(&notes, true).get(&later).is_some());
}
