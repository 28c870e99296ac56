//! The fleet on Azure, as far as it can be simulated on one machine: the storage emulator, and a double of Resource
//! Manager.

use std::os::unix::fs::FileExt as _;
use std::time::Duration;

use goldfleet_disk::{Footer, GoldenSpec};
use goldfleet_model::manifest::Generation;
use goldfleet_ports::blob_store::BlobStore as _;
use goldfleet_tests::azure::fixture::{AzureFixture, Backend};
use goldfleet_tests::process_fixture::Process;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use rustix::process::Signal;

const MIB: u64 = 1 << 20;

/// Four staging accounts in two regions, three worker processes and a dispatcher create all images.
#[test]
fn fleet_creates_image_at_every_target() {
    let azure = AzureFixture::start(2, &["westeurope", "eastus"]);
    let fixture = azure.process_fixture(Backend::Azure, Backend::Azure, 16 * MIB);
    fixture.succeed(&["setup"]);
    fixture.succeed(&["setup"]);
    fixture.succeed(&fixture.upload(&[]));
    let _dispatcher = fixture.start("goldfleet", &["dispatcher"]);
    let _workers: Vec<Process> = (0..3).map(|_| fixture.start("goldfleet-worker", &[])).collect();
    fixture.wait_for_job();
    fixture.assert_succeeded_once(azure.targets());
    azure.assert_everywhere(&fixture);
    let counts = azure.proxy.counters().now();
    let data = fixture.json(&["status"])["phases"]["seed"]["bytes_total"].as_u64().unwrap();
    let crossed = |region: &str| counts.between("goldsource", &format!("stage1{region}"));
    assert_eq!(crossed("eastus"), data, "the chunks crossed to eastus once, to its store");
    assert_eq!(counts.between("goldsource", "stage2eastus"), 0, "and to no other account there");
}

/// One command with embedded coordination serves the Azure cloud.
#[test]
fn embedded_coordination_with_azure_cloud() {
    let azure = AzureFixture::start(1, &["westeurope", "eastus"]);
    let fixture = azure.process_fixture(Backend::Local, Backend::Azure, 8 * MIB);
    fixture.succeed(&fixture.upload(&["--wait"]));
    fixture.assert_succeeded_once(azure.targets());
    azure.assert_everywhere(&fixture);
}

/// Every target gets its image with a data disk, whose VHD is another blob.
#[test]
fn image_with_data_disk_is_created_at_every_target() {
    let azure = AzureFixture::start(1, &["westeurope", "eastus"]);
    let fixture = azure.process_fixture(Backend::Local, Backend::Azure, 8 * MIB);
    GoldenSpec::spread(20 * MIB, Generation::V2, MIB, 2, 9).write(&fixture.path("data.vhd")).unwrap();
    fixture.succeed(&fixture.upload(&["--data", "2=data.vhd", "--wait"]));
    fixture.assert_succeeded_once_each(&[("copy", 4), ("image", 2)]);
    azure.assert_everywhere(&fixture);
    let (blobs, data) = (azure.blobs(), std::fs::read(fixture.path("data.vhd")).unwrap());
    for region in ["westeurope", "eastus"] {
        let vhd = azure.vhd(1, region).container.blob("golden__1__data-2.vhd");
        assert!(azure.run(blobs.get(&vhd, None)).unwrap() == data, "{vhd}");
    }
    for image in azure.manager.images() {
        let disks = &image["properties"]["storageProfile"]["dataDisks"];
        assert_eq!((&disks[0]["lun"], &disks[0]["caching"]), (&2.into(), &"None".into()), "{image:#}");
        assert!(disks[0]["blobUri"].as_str().unwrap().ends_with("golden__1__data-2.vhd"), "{image:#}");
    }
}

/// The next version starts as a copy of the previous one, which the service makes inside each staging account.
#[test]
fn refresh_clones_and_patches() {
    let azure = AzureFixture::start(1, &["westeurope", "eastus"]);
    let fixture = azure.process_fixture(Backend::Local, Backend::Azure, 8 * MIB);
    fixture.succeed(&fixture.upload(&["--wait"]));
    let golden = std::fs::OpenOptions::new().write(true).open(fixture.path("golden.vhd")).unwrap();
    golden.write_all_at(&[0x5a; 4096], 3 * MIB).unwrap();
    golden.write_all_at(&Footer::fixed_for(64 * MIB, 0xface).to_bytes(), 64 * MIB).unwrap();
    fixture.succeed(&["upload", "golden.vhd", "--image", "golden", "--version", "2", "--os", "linux", "--wait"]);
    fixture.assert_succeeded_once(azure.targets());
    let copy = &fixture.json(&["status"])["phases"]["copy"];
    let (moved, total) = (copy["bytes_moved"].as_u64().unwrap(), copy["bytes_total"].as_u64().unwrap());
    assert!(moved > 0 && moved * 4 < total, "{copy:#}");
    let golden = std::fs::read(fixture.path("golden.vhd")).unwrap();
    for region in ["westeurope", "eastus"] {
        let vhd = azure.vhd(1, region).container.blob("golden__2.vhd");
        assert!(azure.run(azure.holds(&vhd, &golden)).unwrap(), "{vhd}");
    }
}

/// Azure queues and tables work with a directory cloud.
#[test]
fn azure_coordination_with_directory_cloud() {
    let azure = AzureFixture::start(1, &["westeurope", "eastus"]);
    let fixture = azure.process_fixture(Backend::Azure, Backend::Local, 8 * MIB);
    fixture.succeed(&["setup"]);
    fixture.succeed(&fixture.upload(&[]));
    let _dispatcher = fixture.start("goldfleet", &["dispatcher"]);
    let _workers: Vec<Process> = (0..2).map(|_| fixture.start("goldfleet-worker", &[])).collect();
    fixture.wait_for_job();
    fixture.assert_succeeded_once(azure.targets());
}

/// Workers and the dispatcher are killed at random times, and the emulator is stopped once with all work in progress.
/// Nothing is lost.
#[test]
fn killed_processes_and_service_outage_lose_nothing() {
    let mut azure = AzureFixture::start(3, &["westeurope", "eastus"]);
    let fixture = azure.process_fixture(Backend::Azure, Backend::Azure, 24 * MIB);
    fixture.succeed(&["setup"]);
    fixture.succeed(&fixture.upload(&[]));
    let mut dispatcher = fixture.start("goldfleet", &["dispatcher"]);
    let mut workers: Vec<Process> = (0..3).map(|_| fixture.start("goldfleet-worker", &[])).collect();
    let mut random = StdRng::seed_from_u64(3);
    for round in 0..8 {
        std::thread::sleep(Duration::from_millis(random.random_range(100..900)));
        let victim = random.random_range(0..workers.len());
        workers[victim].kill();
        workers[victim] = fixture.start("goldfleet-worker", &[]);
        if round % 3 == 1 {
            dispatcher.kill();
            dispatcher = fixture.start("goldfleet", &["dispatcher"]);
        }
        if round == 4 {
            // The emulator stops and saves its data only when no connection is busy. The fleet then finds it stopped.
            let all = || workers.iter().chain([&dispatcher]);
            all().for_each(|process| process.signal(Signal::STOP));
            azure.azurite.stop();
            all().for_each(|process| process.signal(Signal::CONT));
            std::thread::sleep(Duration::from_secs(1));
            azure.azurite.start_again();
        }
    }
    fixture.wait_for_job();
    fixture.assert_succeeded_once(azure.targets());
    azure.assert_everywhere(&fixture);
}
