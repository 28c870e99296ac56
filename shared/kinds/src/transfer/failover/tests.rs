use goldfleet_model::manifest::{Md5Sum, Run};
use goldfleet_ports::clock::{after, elapsed};
use proptest::prelude::*;

use super::*;
use crate::transfer::availability::ChunkSources;

const START: Timestamp = Timestamp::UNIX_EPOCH;
const FAST: Duration = Duration::from_millis(300);
const SLOW: Duration = Duration::from_secs(4);

fn stores() -> Vec<Store> {
    let store = |region: &str, account: &str| Store {
        region: region.parse().unwrap(),
        account: account.parse().unwrap(),
        container: "golden".parse().unwrap(),
    };
    vec![store("eastus", "goldeastus"), store("westeurope", "goldsource")]
}

fn entry() -> ChunkEntry {
    let length = 4 << 20;
    ChunkEntry {
        hash: "ab".repeat(32).parse().unwrap(),
        length,
        runs: vec![Run { offset: 0, length, at: 0, crc64: 1, md5: Md5Sum::of(&[1]) }],
    }
}

/// Two stores with all chunks, and accounts that receive chunks.
struct Scene {
    selector: SourceSelector,
    stores: Vec<Store>,
    now: Timestamp,
}

impl Scene {
    fn new() -> Self {
        Self { selector: SourceSelector::new(true), stores: stores(), now: START }
    }

    fn pick(&self, to: &str) -> SourceChoice<'_> {
        self.selector.choose_source(&wanted(&ChunkSources::all_complete(&self.stores)), &account(to), self.now).unwrap()
    }

    /// Reads a chunk for an account. It takes `near` from the near store and `far` from the far store. Returns whether
    /// the far store was used.
    fn chunk(&mut self, to: &str, near: Duration, far: Duration) -> bool {
        let pick = self.pick(to);
        let is_far = pick.store == &self.stores[1];
        let took = if is_far { far } else { near };
        self.selector.record_result(&pick, &account(to), &entry(), took, after(self.now, took), &Ok(4 << 20));
        self.now = after(self.now, took);
        is_far
    }

    /// Reads `count` chunks. Returns how many were read from the far store.
    fn chunks(&mut self, count: usize, to: &str, near: Duration, far: Duration) -> usize {
        (0..count).filter(|_| self.chunk(to, near, far)).count()
    }

    fn is_left(&self) -> bool {
        self.selector.state().is_circuit_open(&self.stores[0], &account("stage1"))
    }

    fn fail(&self, to: &str, error: PortError) {
        let pick = self.pick(to);
        self.selector.record_result(&pick, &account(to), &entry(), FAST, self.now, &Err(error));
    }
}

fn wanted<'w, 'a>(sources: &'w ChunkSources<'a>) -> WantedChunk<'w, 'a> {
    WantedChunk { chunk: 0, sources, excluded: &[] }
}

fn account(name: &str) -> AccountName {
    name.parse().unwrap()
}

fn unavailable() -> PortError {
    PortError::new(ErrorKind::Unavailable, "no").with_code("source-unavailable")
}

#[test]
fn slow_store_opens_circuit_after_three_probes() {
    let mut scene = Scene::new();
    assert_eq!(scene.chunks(8, "stage1", SLOW, FAST), 0, "eight chunks are looked at first");
    assert_eq!(scene.chunks(3, "stage1", SLOW, FAST), 3, "then three are probes");
    assert_eq!(scene.chunks(20, "stage1", SLOW, FAST), 20);
    assert_eq!(scene.chunks(20, "stage2", SLOW, FAST), 12, "each account finds out for itself");
    assert_eq!(scene.chunks(20, "stage3", FAST, FAST), 0, "one that errs sends nobody else around");
}

#[test]
fn slow_sink_costs_occasional_probe() {
    let mut scene = Scene::new();
    let far = scene.chunks(1000, "stage1", SLOW, SLOW);
    // 4,000 s: the probes follow waits of 1, 2, 4, 8, 16 and 32 minutes.
    assert_eq!(far, 7);
    assert_eq!(scene.chunks(100, "stage2", FAST, FAST), 0);
}

#[test]
fn double_speed_does_not_trigger_failover() {
    let mut scene = Scene::new();
    assert_eq!(scene.chunks(50, "stage1", SLOW, SLOW / 2), 2);
}

#[test]
fn fast_source_is_never_probed() {
    let mut scene = Scene::new();
    let enough = Duration::from_millis(1500);
    assert_eq!(scene.chunks(1000, "stage1", enough, Duration::from_millis(10)), 0);
}

#[test]
fn recovered_store_closes_circuit_after_trials() {
    let mut scene = Scene::new();
    scene.chunks(11, "stage1", SLOW, FAST);
    scene.now = after(scene.now, Duration::from_secs(119));
    assert!(scene.chunk("stage1", SLOW, FAST), "two minutes are not over");
    scene.now = after(scene.now, Duration::from_secs(1));
    let trial = scene.pick("stage1");
    assert_eq!((trial.store, trial.is_failover()), (&scene.stores[0], false));
    assert!(scene.pick("stage1").is_failover(), "one trial at a time");
    assert!(!scene.pick("stage2").is_failover(), "it is left for one account only");
    scene.selector.record_result(&trial, &account("stage1"), &entry(), FAST, scene.now, &Ok(1));
    assert_eq!(scene.chunks(2, "stage1", FAST, FAST), 0, "two more trials");
    assert_eq!(scene.chunks(100, "stage1", FAST, FAST), 0);
}

/// The store is fast without load and slow under load. The time between two returns to it doubles.
#[test]
fn failover_does_not_oscillate() {
    let mut scene = Scene::new();
    let mut left = Vec::new();
    for _ in 0..5 {
        while !scene.is_left() {
            scene.chunk("stage1", SLOW, FAST);
        }
        let begun = scene.now;
        while scene.chunk("stage1", FAST, FAST) {}
        left.push(elapsed(begun, scene.now).as_secs() / 60);
        assert_eq!(scene.chunks(2, "stage1", FAST, FAST), 0);
        assert!(!scene.is_left());
    }
    assert_eq!(left, [2, 4, 8, 16, 32]);
}

#[test]
fn failing_store_opens_circuit() {
    let mut scene = Scene::new();
    for _ in 0..4 {
        scene.fail("stage1", unavailable());
    }
    assert!(!scene.chunk("stage1", FAST, FAST), "a success between, and the count begins anew");
    for _ in 0..5 {
        assert!(!scene.pick("stage1").is_failover());
        scene.fail("stage1", unavailable());
    }
    assert!(scene.chunk("stage2", FAST, FAST));
    scene.now = after(scene.now, Duration::from_secs(120));
    scene.fail("stage1", unavailable());
    scene.now = after(scene.now, Duration::from_secs(239));
    assert!(scene.chunk("stage1", FAST, FAST), "a trial that fails doubles the time");
}

/// The only trial of a store that failed for all accounts is a request for an account that is slow itself.
#[test]
fn overdue_trial_is_inconclusive_for_failed_store() {
    let mut scene = Scene::new();
    for _ in 0..5 {
        scene.fail("stage1", unavailable());
    }
    scene.now = after(scene.now, Duration::from_secs(120));
    let (since, took) = (scene.now, scene.selector.overdue_after(&entry()).unwrap());
    let (trial, late) = (scene.pick("stage2"), after(since, took));
    assert_eq!((trial.store, trial.is_failover()), (&scene.stores[0], false));
    assert!(
        !scene.selector.record_overdue(&trial, &account("stage2"), &entry(), since, late),
        "its end is yet to be told"
    );
    scene.selector.record_result(&trial, &account("stage2"), &entry(), took, late, &Ok(4 << 20));
    scene.now = late;
    assert!(!scene.chunk("stage1", FAST, FAST), "it can be read: that is what the trial was to show");
}

/// The receiving account is throttled. This does not make a store count as slow.
#[test]
fn errors_without_source_fault_do_not_open_circuit() {
    let mut scene = Scene::new();
    for _ in 0..100 {
        scene.fail("stage1", PortError::new(ErrorKind::Throttled, "busy"));
        assert!(!scene.pick("stage1").is_failover());
    }
    assert_eq!(scene.chunks(10, "stage1", FAST, FAST), 0);
}

#[test]
fn failover_can_be_disabled() {
    let mut scene = Scene { selector: SourceSelector::new(false), ..Scene::new() };
    assert_eq!(scene.chunks(100, "stage1", SLOW, FAST), 0);
}

proptest! {
    /// In any sequence of events each chunk is read from one of the stores. If all stores are equally slow, few chunks
    /// are read from the far store.
    #[test]
    fn equally_slow_stores_keep_circuit_closed(times in proptest::collection::vec(100_u64..20_000, 100..400)) {
        let mut scene = Scene::new();
        let mut far = 0;
        for millis in &times {
            // The duration does not depend on the store.
            let took = Duration::from_millis(*millis);
            far += usize::from(scene.chunk("stage1", took, took));
        }
        prop_assume!(!scene.is_left());
        prop_assert!(far * 10 <= times.len(), "{far} of {}", times.len());
    }
}

#[test]
fn lost_probe_does_not_block_probing() {
    let mut scene = Scene::new();
    scene.chunks(8, "stage1", SLOW, FAST);
    let lost = scene.pick("stage1");
    assert!(lost.is_failover() && !scene.pick("stage1").is_failover());
    scene.now = after(scene.now, Duration::from_secs(180));
    assert!(scene.pick("stage1").is_failover());
}

impl Scene {
    fn instead<'a>(&'a self, pick: &SourceChoice<'a>) -> Option<SourceChoice<'a>> {
        self.selector.alternative_source(
            pick,
            &wanted(&ChunkSources::all_complete(&self.stores)),
            &account("stage1"),
            self.now,
        )
    }
}

/// The circuit of a store that stops responding opens before any request ends, even at the end of a transfer with few
/// remaining chunks.
#[test]
fn stalled_store_opens_circuit_while_chunks_wait() {
    for count in [8, 4] {
        let mut scene = Scene::new();
        assert_eq!(scene.chunks(100, "stage1", FAST, FAST), 0);
        let since = scene.now;
        scene.now = after(since, scene.selector.overdue_after(&entry()).unwrap());
        let picks: Vec<_> = (0..count).map(|_| scene.pick("stage1")).collect();
        assert!(picks.iter().all(|pick| !pick.is_failover()));
        for pick in &picks {
            scene.selector.record_overdue(pick, &account("stage1"), &entry(), since, scene.now);
        }
        for pick in &picks[..3] {
            let probe = scene.instead(pick).unwrap();
            assert!(probe.is_failover() && scene.instead(&picks[3]).is_none(), "one probe at a time");
            scene.selector.record_result(&probe, &account("stage1"), &entry(), FAST, scene.now, &Ok(4 << 20));
        }
        assert!(scene.is_left());
        assert!(picks[3..].iter().all(|pick| scene.instead(pick).is_some_and(|instead| instead.is_failover())));
        assert!(scene.pick("stage1").is_failover() && !scene.pick("stage2").is_failover());
    }
}

/// A single lost chunk does not open the circuit, because other chunks from the store arrive.
#[test]
fn single_overdue_chunk_does_not_open_circuit() {
    let mut scene = Scene::new();
    let since = scene.now;
    scene.chunks(100, "stage1", FAST, FAST);
    let pick = scene.pick("stage1");
    scene.selector.record_overdue(&pick, &account("stage1"), &entry(), since, scene.now);
    assert_eq!(scene.instead(&pick), None);
}

/// If the account itself accepts nothing, few chunks are requested from another store. They are overdue there too.
#[test]
fn stalled_sink_costs_occasional_probe() {
    let mut scene = Scene::new();
    let since = scene.now;
    scene.now = after(since, scene.selector.overdue_after(&entry()).unwrap());
    let mut probes = 0;
    for _ in 0..600 {
        let now = scene.now;
        let pick = scene.pick("stage1");
        if !pick.is_failover() {
            scene.selector.record_overdue(&pick, &account("stage1"), &entry(), since, now);
        }
        let probe = if pick.is_failover() { Some(pick) } else { scene.instead(&pick) };
        if let Some(probe) = probe {
            probes += 1;
            assert_eq!(scene.instead(&probe), None, "a probe is not asked for a third time");
            scene.selector.record_overdue(&probe, &account("stage1"), &entry(), since, now);
        }
        scene.now = after(now, Duration::from_secs(1));
    }
    assert_eq!(probes, 4, "ten minutes: at once, and after 1, 2 and 4 minutes of peace");
}
