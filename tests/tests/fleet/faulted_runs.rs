//! Runs with one fault each: many of them, a few at a time, and those in which a worker is killed at a call.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::sync::Arc;

use goldfleet_dispatcher::control::status::ReportedState;
use goldfleet_model::ids::JobId;
use goldfleet_tests::faults::{Faults, LostPart, with_faults};
use goldfleet_tests::fleet::InProcessFleet;

use crate::snapshots::scene::TOO_LONG;
use crate::snapshots::workers::{Worker, ended, with_dispatcher};

/// Runs all cases, `at_once` at a time. Returns their results in order.
pub(crate) async fn run_cases<C: Copy, F: Future<Output: Send + 'static> + Send + 'static>(
    cases: &[C],
    at_once: usize,
    run: impl Fn(C) -> F,
) -> Vec<F::Output> {
    let mut results = Vec::with_capacity(cases.len());
    for batch in cases.chunks(at_once) {
        let runs: Vec<_> = batch.iter().map(|&case| tokio::spawn(run(case))).collect();
        for run in runs {
            results.push(run.await.unwrap());
        }
    }
    results
}

/// Asserts that at most one of `most` faults was not met. A call fewer is made if rows run in another order.
pub(crate) fn assert_met(met: &[bool], most: usize) {
    let missed = met.iter().filter(|met| !**met).count();
    assert!(missed * most <= met.len(), "{missed} of {} faults were never met", met.len());
}

/// Performs a job whose first worker is killed when a call has taken effect and before it learns of that. Its successor
/// has only the row.
pub(crate) async fn kill_at(fleet: &InProcessFleet, job: &JobId, name: &'static str, nth: usize) {
    let faults = Faults::failing_at(name, nth, LostPart::Caller);
    let reached = async {
        tokio::time::timeout(TOO_LONG, faults.reached()).await.expect("the call was not made");
    };
    kill_when(fleet, job, &faults, reached).await;
}

/// As [`kill_at`], at another moment.
pub(crate) async fn kill_when(
    fleet: &InProcessFleet,
    job: &JobId,
    faults: &Arc<Faults>,
    moment: impl Future<Output = ()>,
) {
    with_dispatcher(fleet, async {
        let first = Worker::start(fleet, &with_faults(&fleet.ports, faults), 1);
        moment.await;
        drop(first);
        let _successor = Worker::start(fleet, &fleet.ports, 2);
        ended(fleet, job).await;
    })
    .await;
    let status = fleet.status(job).await;
    assert_eq!(status.state, ReportedState::Succeeded, "{status:#?}");
}
