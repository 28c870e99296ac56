//! Simulations of the whole fleet in virtual time, on one thread. A seed determines everything: the faults and their
//! times, which processes are killed or frozen, and what operators do. Then the faults end, and the fleet must reach a
//! correct state.
//!
//! `GOLDFLEET_SEED=7 cargo test -p goldfleet-tests --test simulation` runs one seed, and prints the complete trace if
//! it fails. `GOLDFLEET_SEEDS=1000` runs that many seeds, starting at `GOLDFLEET_FIRST_SEED`.
#![expect(clippy::unwrap_used, reason = "tests")]

mod actions;
mod faults;
mod fleet;
mod galleries;
mod golden;
mod graphs;
mod invariants;
mod observer;
mod operator_repair;
mod partial_insert;
mod process;
mod reference_model;
mod rng;
mod rules;
mod run;
mod scenario;
mod trace;
mod unreliable_queue;

use std::time::Instant;

use run::run;

/// The default number of seeds, which takes some seconds.
const SEEDS: u64 = 40;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|value| value.parse().unwrap())
}

/// For every seed, the final state is correct, and no forbidden step happens before.
#[test]
fn converges_after_faults() {
    let one = number("GOLDFLEET_SEED");
    let first = one.or(number("GOLDFLEET_FIRST_SEED")).unwrap_or(1);
    let seeds = one.map_or_else(|| number("GOLDFLEET_SEEDS").unwrap_or(SEEDS), |_| 1);
    let (began, mut lines) = (Instant::now(), 0);
    let mut failed = Vec::new();
    for seed in first..first + seeds {
        let outcome = run(seed, one.is_some());
        lines += outcome.digest.1;
        if one.is_some() {
            eprintln!("{}", outcome.end);
        }
        if !outcome.violations.is_empty() {
            if failed.is_empty() && one.is_none() {
                eprintln!("{}", outcome.end);
            }
            eprintln!("seed {seed}:\n{}\n", outcome.violations.join("\n"));
            failed.push(seed);
        }
    }
    eprintln!("{seeds} seeds, {lines} lines of trace, {:.1} s", began.elapsed().as_secs_f64());
    assert!(failed.is_empty(), "GOLDFLEET_SEED={} runs the first of these again: {failed:?}", failed[0]);
}

/// A seed determines everything, so that a failure can be reproduced.
#[test]
fn same_seed_gives_same_trace() {
    let seed = number("GOLDFLEET_SEED").unwrap_or(4);
    let (one, other) = (run(seed, true), run(seed, true));
    if one.digest != other.digest {
        let mut lines = one.end.lines().zip(other.end.lines());
        let differ = lines.find(|(one, other)| one != other);
        panic!("seed {seed}: {:?}, then {:?}; first {differ:?}", one.digest, other.digest);
    }
}
