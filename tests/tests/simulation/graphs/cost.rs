//! What a completed operation costs does not depend on the size of its job.
#![expect(clippy::cast_precision_loss, reason = "counts")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::fleet::{Coordination, GraphFleet};
use super::plan::Shape;
use crate::rng::SimRng;
use crate::run::run_seed;

/// The calls of the table by the worker for each row, by method, in a job whose layers have `width` chains.
fn calls_per_row(width: u64) -> BTreeMap<&'static str, f64> {
    let (send, receive) = std::sync::mpsc::channel();
    let outcome = run_seed(1, false, async move |keep_all| {
        let shape = Shape { layers: 3, width: (width, width), depth: 3 };
        let fleet = GraphFleet::with(SimRng::new(11), keep_all, Coordination::Modelled, shape);
        fleet.faults.end();
        fleet.succeed_at_once();
        fleet.plan().await;
        fleet.begin_dispatcher();
        fleet.begin_worker(false);
        fleet.wait_for_end().await;
        let seen = fleet.watch.seen();
        let calls = seen.calls.iter().filter(|(name, _)| name.starts_with("JobTable."));
        send.send((calls.map(|(name, count)| (*name, *count)).collect(), seen.rows.len())).unwrap();
        drop(seen);
        Arc::clone(&fleet.faults)
    });
    assert!(outcome.violations.is_empty(), "{:?}\n{}", outcome.violations, outcome.end);
    let (calls, rows): (Vec<(&'static str, usize)>, usize) = receive.recv().unwrap();
    assert!(rows as u64 >= width, "{rows} rows");
    calls.into_iter().map(|(name, count)| (name, count as f64 / rows as f64)).collect()
}

/// A worker makes the same number of calls for a row of a small and of a large job.
#[test]
fn cost_of_a_completion_does_not_grow_with_the_job() {
    let (small, large) = (calls_per_row(20), calls_per_row(1000));
    let sum = |calls: &BTreeMap<&str, f64>| calls.values().sum::<f64>();
    assert!(sum(&large) < 8.0 && sum(&large) < sum(&small) * 1.25, "small: {small:#?}, large: {large:#?}");
}

impl GraphFleet {
    /// Lets every attempt succeed.
    fn succeed_at_once(&self) {
        self.notes.may_fail.store(false, Ordering::Relaxed);
    }
}
