//! Syncs against a model of the service, in virtual time, on one thread. A seed determines everything: the rules, what
//! others do, and every fault. Then the faults end, and the runs after that must reach a correct state.
//!
//! `GOLDFLEET_SEED=7 cargo test -p goldfleet-snapshots --test simulation` runs one seed, and prints the trace.
//! `GOLDFLEET_SEEDS=10000` runs that many seeds, starting at `GOLDFLEET_FIRST_SEED`.
#![expect(clippy::unwrap_used, clippy::cast_precision_loss, reason = "tests")]

mod engine;
mod environment;
mod invariants;
mod rng;
mod schedule;
mod service;
mod step;
mod world;

use std::time::Instant;

/// The default number of seeds, which takes some seconds.
const SEEDS: u64 = 150;

/// Seeds that found faults. They run in addition to the others.
///
/// - 96: two destinations in one subscription and region share the order of a family.
/// - 144: a source was created again between the check and the request of its copy.
/// - 4297: a request for a temporary took effect after its job had ended.
/// - 5088: a list that was behind contained a newer replica, and the older one was deleted as surplus.
/// - 5109: a failed copy remained whose source was not copied again because of `keep`.
/// - 9485: someone deleted a final replica while its staged replica was deleted. Not a fault of the sync.
const FOUND: [u64; 6] = [96, 144, 4297, 5088, 5109, 9485];

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|value| value.parse().unwrap())
}

/// For every seed, no forbidden change happens, and the final state is correct.
#[test]
fn converges_after_faults() {
    let one = number("GOLDFLEET_SEED");
    let first = one.or(number("GOLDFLEET_FIRST_SEED")).unwrap_or(1);
    let seeds = one.map_or_else(|| number("GOLDFLEET_SEEDS").unwrap_or(SEEDS), |_| 1);
    let began = Instant::now();
    let (mut failed, mut totals) = (Vec::new(), schedule::Totals::default());
    let found = FOUND.into_iter().filter(|seed| one.is_none() && !(first..first + seeds).contains(seed));
    for seed in (first..first + seeds).chain(found) {
        let outcome = schedule::run(seed, one.is_some());
        totals.add(&outcome.totals);
        for line in &outcome.trace {
            eprintln!("{line}");
        }
        if !outcome.violations.is_empty() {
            eprintln!("seed {seed}:\n{}\n", outcome.violations.join("\n"));
            failed.push(seed);
        }
    }
    eprintln!("{seeds} seeds, {totals:?}, {:.1} s", began.elapsed().as_secs_f64());
    assert!(failed.is_empty(), "GOLDFLEET_SEED={} runs the first of these again: {failed:?}", failed[0]);
}
