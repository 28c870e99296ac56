//! A version in a gallery, with another tool that writes the same version, in virtual time.
//!
//! The tool reads the regions, and writes them later with its own one: regions that were added in between are lost, as
//! they are lost at Azure, which has no condition for such a write. The time from the reported end of a replication
//! until the version can be used is 0 to 20 minutes. The tool also writes after the first promotion, so that regions
//! which readers get the version in are removed and added again. Workers, the reconciler and the promotion are killed
//! before or after any of their calls. Afterwards the tool stops, and the version must be the latest one in all
//! regions.
//!
//! `GOLDFLEET_SCHEDULES=1000` runs that many schedules, and `GOLDFLEET_SCHEDULE=7` runs one.

mod actors;
mod world;

use std::time::Instant;

use world::World;

use super::number;

/// The default number of schedules.
const SCHEDULES: u64 = 16;

#[test]
fn regions_converge_and_no_reader_gets_an_unready_version() {
    let one = number("GOLDFLEET_SCHEDULE");
    let count = one.map_or_else(|| number("GOLDFLEET_SCHEDULES").unwrap_or(SCHEDULES), |_| 1);
    let (began, first) = (Instant::now(), one.unwrap_or(1));
    let (mut failed, mut totals) = (Vec::new(), world::Counts::default());
    for seed in first..first + count {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let (violations, counts) = runtime.block_on(async { World::new(seed).await.run().await });
        totals.add(&counts);
        if !violations.is_empty() {
            eprintln!("schedule {seed}:\n{}\n", violations.join("\n"));
            failed.push(seed);
        }
    }
    eprintln!("{count} schedules, {totals:?}, {:.1} s", began.elapsed().as_secs_f64());
    assert!(failed.is_empty(), "GOLDFLEET_SCHEDULE={} runs the first of these again: {failed:?}", failed[0]);
    assert!(totals.removed > 0 && totals.kills > 0 && totals.promotions == count, "{totals:?}");
}
