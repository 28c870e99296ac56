//! Many families, with workers that are killed at random.

use std::time::Duration;

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

use super::directory::Scene;
use super::scene::assert_succeeded;
use super::workers::{Worker, ended, with_dispatcher};

const FAMILIES: usize = 20;
const SNAPSHOTS: usize = 10;

#[tokio::test(flavor = "multi_thread")]
async fn many_families_are_copied_while_workers_are_killed() {
    let mut scene = Scene::new();
    for family in 0..FAMILIES {
        let names: Vec<String> = (0..SNAPSHOTS).map(|number| format!("s{family}-{number}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        scene.family(&format!("disk{family}"), &names).await;
    }
    let planned = scene.plan().await;
    // Each copy to another region has a row that cleans up after it.
    assert_eq!(planned.rows, FAMILIES * SNAPSHOTS * 5);
    let fleet = &scene.fleet;
    let mut rng = StdRng::seed_from_u64(3);
    let kills = with_dispatcher(fleet, async {
        let mut workers: Vec<Worker> = (0..3).map(|n| Worker::start(fleet, &fleet.ports, n)).collect();
        let mut kills = 0;
        let killing = async {
            loop {
                tokio::time::sleep(Duration::from_millis(rng.random_range(200..800))).await;
                let victim = rng.random_range(0..workers.len());
                kills += 1;
                workers[victim] = Worker::start(fleet, &fleet.ports, 3 + kills);
            }
        };
        tokio::select! {
            () = ended(fleet, &planned.job) => {}
            () = killing => {}
        }
        kills
    })
    .await;
    assert!(kills > 3, "{kills} workers were killed");
    assert_succeeded(&scene.fleet.status(&planned.job).await);
    scene.assert_in_sync().await;
}
