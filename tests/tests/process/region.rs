//! Rollouts by golden snapshots with real processes that are killed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use goldfleet_disk::GoldenSpec;
use goldfleet_model::manifest::Generation;
use goldfleet_tests::process_fixture::{self, Process, ProcessFixture};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

const MIB: u64 = 1 << 20;

const REGIONS: [&str; 3] = ["westeurope", "eastus", "japaneast"];

const CONFIG: &str = r#"
    [plan]
    route = "region"
    [worker]
    lease = "3s"
    retry_base = "20ms"
    concurrency = 8
    [dispatch]
    sweep = "200ms"
"#;

fn fixture(subscriptions: u32) -> ProcessFixture {
    let store = |region: &str| {
        format!(
            "[[store]]\nregion = \"{region}\"\naccount = \"gold{region}\"\ncontainer = \"golden\"\n\
             subscription = \"00000000-0000-0000-0000-000000000099\"\nresource_group = \"hub\"\n"
        )
    };
    let targets = process_fixture::targets(subscriptions, &REGIONS) + &REGIONS.map(store).concat();
    let golden = GoldenSpec::spread(64 * MIB, Generation::V1, 24 * MIB, 32, 7);
    ProcessFixture::new(&format!("{}{CONFIG}", process_fixture::SOURCE), &targets, &golden)
}

/// The files with this end below a folder.
fn files(folder: &Path, end: &str, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            files(&path, end, found);
        } else if path.extension().is_some_and(|found| found == end) {
            found.push(path);
        }
    }
}

/// Workers and the dispatcher are killed at random times. Each image has the bytes of the source, and nothing but one
/// golden snapshot for each region is left.
#[test]
fn killed_workers_and_dispatchers_deliver_the_same_bytes() {
    let fixture = fixture(8);
    fixture.succeed(&fixture.upload(&[]));
    let mut dispatcher = fixture.start("goldfleet", &["dispatcher"]);
    let mut workers: Vec<Process> = (0..2).map(|_| fixture.start("goldfleet-worker", &[])).collect();
    let mut random = StdRng::seed_from_u64(20_261_130);
    for round in 0..12 {
        std::thread::sleep(Duration::from_millis(random.random_range(20..250)));
        let victim = random.random_range(0..workers.len());
        workers[victim].kill();
        workers[victim] = fixture.start("goldfleet-worker", &[]);
        if round % 4 == 0 {
            dispatcher.kill();
            dispatcher = fixture.start("goldfleet", &["dispatcher"]);
        }
    }
    let status = fixture.wait_for_job();
    assert_eq!(status["state"], "succeeded", "{status:#}");
    assert_eq!(status["phases"]["image"]["succeeded"], 24, "{status:#}");

    let golden = std::fs::read(fixture.path("golden.vhd")).unwrap();
    let size = golden.len() - 512;
    let mut contents = Vec::new();
    files(&fixture.path("cloud/subscriptions"), "disk", &mut contents);
    // A worker that was killed while it wrote leaves a file that begins with a dot.
    contents.retain(|path| !path.file_name().unwrap().to_string_lossy().starts_with('.'));
    let of = |folder: &str| contents.iter().filter(|path| path.parent().unwrap().ends_with(folder)).count();
    assert_eq!((of("images"), of("snapshots"), of("disks")), (24, 3, 0), "{contents:#?}");
    for path in &contents {
        let bytes = std::fs::read(path).unwrap();
        assert!(bytes.len() == size && bytes[..] == golden[..size], "{} differs", path.display());
    }
}
