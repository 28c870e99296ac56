//! The storage adapters against Microsoft's emulator.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;

use goldfleet_shared::azure::{AzureJobTable, AzureQueue};
use goldfleet_shared::config::{Checksum, Endpoint};
use goldfleet_shared::conformance::{self, clock::RealTime};
use goldfleet_shared::model::store::Container;
use goldfleet_shared::ports::blob_store::{BlobStore as _, CopyState};
use goldfleet_tests::azure::azurite::Azurite;
use goldfleet_tests::azure::proxy::{CopyEnd, Effect, Operation, Rule};
use goldfleet_tests::azure::site::Site;

fn of_account(endpoint: &str, account: &str) -> String {
    endpoint.parse::<Endpoint>().unwrap().for_account(&account.parse().unwrap())
}

#[tokio::test]
async fn the_queue_conforms() {
    let azurite = Azurite::start(&["goldsource"]);
    let endpoint = of_account(&azurite.queues(), "goldsource");
    let queue = AzureQueue::new(&azurite.connection(), &endpoint, &"fleet".parse().unwrap()).unwrap();
    conformance::queue::all(&queue, &RealTime).await;
}

#[tokio::test]
async fn the_job_table_conforms() {
    let azurite = Azurite::start(&["goldsource"]);
    let endpoint = of_account(&azurite.tables(), "goldsource");
    let table = AzureJobTable::new(&azurite.connection(), &endpoint, &"fleet".parse().unwrap()).unwrap();
    conformance::job_table::all(&table).await;
}

#[test]
fn the_blob_store_conforms() {
    let site = Site::start(1, &["westeurope"]);
    for (checksum, name) in [(Checksum::Crc64, "by-crc64"), (Checksum::Md5, "by-md5")] {
        let container = Container { account: "goldsource".parse().unwrap(), container: name.parse().unwrap() };
        site.run(conformance::blob_store::all(&site.blobs_checked_by(checksum), &container));
    }
}

/// What the emulator can't show: copies that take their time, are stopped, or fail.
#[test]
fn asynchronous_copies_are_followed_and_stopped() {
    let site = Site::start(1, &["westeurope"]);
    let blobs = site.blobs();
    let vhds = site.vhd(1, "westeurope").container;
    let source = vhds.blob("golden/1.vhd");
    site.run(async {
        blobs.ensure_container(&vhds).await.unwrap();
        conformance::image_plane::put_smallest_vhd(&blobs, &source).await;
    });
    let rules = site.proxy.rules();
    let start = |name: &str| site.run(blobs.start_copy(&vhds.blob(name), &source, &BTreeMap::new())).unwrap();
    let state = |name: &str| site.run(blobs.copy_status(&vhds.blob(name))).unwrap().unwrap().state;

    rules.add(Rule::new(Effect::pending(2)).operation(Operation::CopyBlob).times(1));
    assert!(matches!(start("slow.vhd").state, CopyState::Pending { .. }));
    assert!(matches!(state("slow.vhd"), CopyState::Pending { .. }));
    let begun = std::time::Instant::now();
    while state("slow.vhd") != CopyState::Done {
        assert!(begun.elapsed().as_secs() < 20, "the copy never ends");
    }
    let (copy, whole) =
        site.run(async { (blobs.get(&vhds.blob("slow.vhd"), None).await, blobs.get(&source, None).await) });
    assert!(copy.unwrap() == whole.unwrap());

    rules.add(Rule::new(Effect::pending(100)).operation(Operation::CopyBlob).times(1));
    let begun = start("stopped.vhd");
    site.run(blobs.abort_copy(&vhds.blob("stopped.vhd"), &begun.id)).unwrap();
    assert_eq!(state("stopped.vhd"), CopyState::Aborted);
    site.run(blobs.abort_copy(&vhds.blob("stopped.vhd"), &begun.id)).unwrap();

    rules.add(Rule::new(Effect::Pending { polls: 1, end: CopyEnd::Failed }).operation(Operation::CopyBlob).times(1));
    start("failed.vhd");
    state("failed.vhd");
    assert!(matches!(state("failed.vhd"), CopyState::Failed(reason) if !reason.is_empty()));
}
