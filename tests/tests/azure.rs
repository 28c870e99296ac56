//! The fleet on Azure, as far as it is to be had on one machine: the storage emulator, and a double of Resource Manager.
#![expect(clippy::unwrap_used, reason = "tests")]

use goldfleet_tests::azure::site::{Backend, Site};
use goldfleet_tests::place::Process;

const MIB: u64 = 1 << 20;

/// Four staging accounts in two regions, three worker processes and a dispatcher.
#[test]
fn a_fleet_brings_an_image_everywhere() {
    let site = Site::start(2, &["westeurope", "eastus"]);
    let place = site.place(Backend::Azure, Backend::Azure, 16 * MIB);
    place.succeed(&["setup"]);
    place.succeed(&place.upload(&[]));
    let _dispatcher = place.start("goldfleet", &["dispatcher"]);
    let _workers: Vec<Process> = (0..3).map(|_| place.start("goldfleet-worker", &[])).collect();
    place.until_ended();
    place.assert_succeeded_once(site.targets());
    site.assert_everywhere(&place);
}
