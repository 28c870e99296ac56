//! The fleet on Azure, as far as it is to be had on one machine: the storage emulator, and a double of Resource Manager.

use std::os::unix::fs::FileExt as _;
use std::time::Duration;

use goldfleet_disk::Footer;
use goldfleet_ports::blob_store::BlobStore as _;
use goldfleet_tests::azure::site::{Backend, Site};
use goldfleet_tests::place::Process;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use rustix::process::Signal;

const MIB: u64 = 1 << 20;

/// Four staging accounts in two regions, three worker processes and a dispatcher.
#[test]
fn a_fleet_brings_an_image_everywhere() {
    let site = Site::start(2, &["westeurope", "eastus"]);
    let place = site.place(Backend::Azure, Backend::Azure, 16 * MIB);
    place.succeed(&["setup"]);
    place.succeed(&["setup"]);
    place.succeed(&place.upload(&[]));
    let _dispatcher = place.start("goldfleet", &["dispatcher"]);
    let _workers: Vec<Process> = (0..3).map(|_| place.start("goldfleet-worker", &[])).collect();
    place.until_ended();
    place.assert_succeeded_once(site.targets());
    site.assert_everywhere(&place);
    let counts = site.proxy.counters().now();
    let data = place.json(&["status"])["phases"]["seed"]["bytes_total"].as_u64().unwrap();
    let crossed = |region: &str| counts.between("goldsource", &format!("stage1{region}"));
    assert_eq!(crossed("eastus"), data, "the chunks crossed to eastus once, to its store");
    assert_eq!(counts.between("goldsource", "stage2eastus"), 0, "and to no other account there");
}

/// A laptop that serves a real cloud, with one command.
#[test]
fn a_laptop_does_it_alone() {
    let site = Site::start(1, &["westeurope", "eastus"]);
    let place = site.place(Backend::Local, Backend::Azure, 8 * MIB);
    place.succeed(&place.upload(&["--wait"]));
    place.assert_succeeded_once(site.targets());
    site.assert_everywhere(&place);
}

/// The next version begins as a copy of the one before, which the service makes inside each staging account.
#[test]
fn a_refresh_is_cloned_and_patched() {
    let site = Site::start(1, &["westeurope", "eastus"]);
    let place = site.place(Backend::Local, Backend::Azure, 8 * MIB);
    place.succeed(&place.upload(&["--wait"]));
    let golden = std::fs::OpenOptions::new().write(true).open(place.path("golden.vhd")).unwrap();
    golden.write_all_at(&[0x5a; 4096], 3 * MIB).unwrap();
    golden.write_all_at(&Footer::fixed_for(64 * MIB, 0xface).to_bytes(), 64 * MIB).unwrap();
    place.succeed(&["upload", "golden.vhd", "--image", "golden", "--version", "2", "--os", "linux", "--wait"]);
    place.assert_succeeded_once(site.targets());
    let copy = &place.json(&["status"])["phases"]["copy"];
    let (moved, total) = (copy["bytes_moved"].as_u64().unwrap(), copy["bytes_total"].as_u64().unwrap());
    assert!(moved > 0 && moved * 4 < total, "{copy:#}");
    let (blobs, golden) = (site.blobs(), std::fs::read(place.path("golden.vhd")).unwrap());
    for region in ["westeurope", "eastus"] {
        let vhd = site.vhd(1, region).container.blob("golden__2.vhd");
        assert!(site.run(blobs.get(&vhd, None)).unwrap() == golden, "{vhd}");
    }
}

/// Queues and tables of Azure, with folders for a cloud.
#[test]
fn a_rehearsal_with_real_queues_and_tables() {
    let site = Site::start(1, &["westeurope", "eastus"]);
    let place = site.place(Backend::Azure, Backend::Local, 8 * MIB);
    place.succeed(&["setup"]);
    place.succeed(&place.upload(&[]));
    let _dispatcher = place.start("goldfleet", &["dispatcher"]);
    let _workers: Vec<Process> = (0..2).map(|_| place.start("goldfleet-worker", &[])).collect();
    place.until_ended();
    place.assert_succeeded_once(site.targets());
}

/// Workers and the dispatcher are killed at random moments, and once the emulator with all that is under way.
#[test]
fn killed_processes_and_a_stopped_service_lose_nothing() {
    let mut site = Site::start(3, &["westeurope", "eastus"]);
    let place = site.place(Backend::Azure, Backend::Azure, 24 * MIB);
    place.succeed(&["setup"]);
    place.succeed(&place.upload(&[]));
    let mut dispatcher = place.start("goldfleet", &["dispatcher"]);
    let mut workers: Vec<Process> = (0..3).map(|_| place.start("goldfleet-worker", &[])).collect();
    let mut random = StdRng::seed_from_u64(3);
    for round in 0..8 {
        std::thread::sleep(Duration::from_millis(random.random_range(100..900)));
        let victim = random.random_range(0..workers.len());
        workers[victim].kill();
        workers[victim] = place.start("goldfleet-worker", &[]);
        if round % 3 == 1 {
            dispatcher.kill();
            dispatcher = place.start("goldfleet", &["dispatcher"]);
        }
        if round == 4 {
            // It only stops, and keeps what it has, when no connection is busy. Then the fleet finds it gone.
            let all = || workers.iter().chain([&dispatcher]);
            all().for_each(|process| process.signal(Signal::STOP));
            site.azurite.stop();
            all().for_each(|process| process.signal(Signal::CONT));
            std::thread::sleep(Duration::from_secs(1));
            site.azurite.start_again();
        }
    }
    place.until_ended();
    place.assert_succeeded_once(site.targets());
    site.assert_everywhere(&place);
}
