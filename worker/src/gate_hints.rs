//! Hints to the dispatcher that the openers of a gate may have ended.
//!
//! Workers never count openers. A hint only causes the dispatcher to evaluate the gate now instead of at the next run
//! of the reconciler, so it may be lost. A process sends at most one hint per gate and second. The last hint is never
//! omitted: a hint that comes too early is sent with a delay.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use goldfleet_model::graph::GateKey;
use goldfleet_model::ids::JobId;
use goldfleet_model::message::{Message, QueueName};
use goldfleet_model::operation::Operation;
use goldfleet_ports::Ports;
use goldfleet_ports::clock::{after, elapsed, has_ended};
use goldfleet_ports::error::PortResult;
use jiff::Timestamp;

/// The minimum time between two hints for one gate.
const INTERVAL: Duration = Duration::from_secs(1);

/// The maximum number of gates in the state.
const MAX_GATES: usize = 1024;

/// The time at which the last hint for each gate becomes visible.
#[derive(Debug, Default)]
pub(crate) struct GateHints(Mutex<HashMap<(JobId, GateKey), Timestamp>>);

impl GateHints {
    /// Sends hints for the gates of operations that have just ended.
    pub(crate) async fn send<'a>(
        &self,
        ports: &Ports,
        ended: impl Iterator<Item = &'a Operation> + Send,
    ) -> PortResult<()> {
        for operation in ended.filter(|operation| operation.state.is_terminal()) {
            for gate in &operation.opens {
                if let Some(delay) = self.delay(&operation.job, gate, ports.clock.now()) {
                    let message = Message::gate(&operation.job, gate).encode();
                    ports.queue.send(QueueName::Dispatch, &message, delay).await?;
                }
            }
        }
        Ok(())
    }

    /// The delay of a hint for a gate. None if a hint was already sent that becomes visible later.
    fn delay(&self, job: &JobId, gate: &GateKey, now: Timestamp) -> Option<Duration> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if last.len() >= MAX_GATES {
            last.retain(|_, visible| after(*visible, INTERVAL) > now);
        }
        let key = (job.clone(), gate.clone());
        let visible = match last.get(&key) {
            // A hint that seems to become visible later than that was sent before the clock was set back.
            Some(visible) if !has_ended(*visible, INTERVAL, now) => return None,
            Some(visible) if *visible <= now => after(*visible, INTERVAL).max(now),
            Some(_) => now,
            None => now,
        };
        last.insert(key, visible);
        Some(elapsed(now, visible))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_are_rare_and_the_last_one_is_not_left_out() {
        let hints = GateHints::default();
        let (job, gate) = ("20261121-041502-7f3a".parse().unwrap(), GateKey::ring(1));
        let at = |millis| Timestamp::from_millisecond(millis).unwrap();
        assert_eq!(hints.delay(&job, &gate, at(0)), Some(Duration::ZERO));
        assert_eq!(hints.delay(&job, &gate, at(300)), Some(Duration::from_millis(700)));
        assert_eq!(hints.delay(&job, &gate, at(600)), None, "one becomes visible after this");
        assert_eq!(hints.delay(&job, &GateKey::ring(2), at(600)), Some(Duration::ZERO), "another gate");
        assert_eq!(hints.delay(&job, &gate, at(5000)), Some(Duration::ZERO));
    }
}
