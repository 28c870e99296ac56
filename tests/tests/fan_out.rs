//! What a job takes for its own of the images that are there.
#![expect(clippy::unwrap_used, reason = "tests")]

use goldfleet_dispatcher::cleanup::forget_version;
use goldfleet_dispatcher::request::{Requested, request};
use goldfleet_dispatcher::status::{Standing, Status};
use goldfleet_dispatcher::upload::{UploadRequest, upload};
use goldfleet_shared::model::manifest::{Generation, OsType};
use goldfleet_shared::vhd::GoldenSpec;
use goldfleet_tests::fleet::Fleet;
use goldfleet_tests::place::{SOURCE, targets};

const WEST: &str = "region=westeurope";
const EAST: &str = "region=eastus";

/// A fleet whose managed images are named so, with these targets.
fn fleet(name: &str, targets: &str) -> Fleet {
    let toml = format!("{SOURCE}\n[images]\nname = \"{name}\"\n[dispatch]\nsweep = \"50ms\"\npatience = \"1s\"\n");
    Fleet::with(&toml, targets, &GoldenSpec::spread(24 << 20, Generation::V2, 1 << 20, 4, 1))
}

/// Uploads the golden VHD, as a version of this image.
async fn sent(fleet: &Fleet, image: &str, version: &str) {
    let asked = UploadRequest {
        file: fleet.golden(),
        image: image.parse().unwrap(),
        version: version.parse().unwrap(),
        os: OsType::Linux,
        generation: None,
        limit: None,
    };
    upload(&fleet.desk(fleet.ports.clone()), &asked, &|_| {}, &Default::default()).await.unwrap();
}

/// Asks for a version at the targets that are selected; at all, where nothing is said.
async fn asked(fleet: &Fleet, image: &str, version: &str, selection: &[&str]) -> Requested {
    let selection: Vec<_> = selection.iter().map(|text| text.parse().unwrap()).collect();
    let desk = fleet.desk(fleet.ports.clone());
    request(&desk, &image.parse().unwrap(), &version.parse().unwrap(), &selection, false).await.unwrap()
}

/// Asks, and runs the job to its end.
async fn done(fleet: &Fleet, image: &str, version: &str, selection: &[&str]) -> Status {
    let job = asked(fleet, image, version, selection).await.job.id;
    fleet.run(&fleet.ports, 1, &job).await
}

fn failed_with(status: &Status) -> Vec<&str> {
    status.failures.iter().map(|failure| failure.code.as_str()).collect()
}

/// A name without the region is one image for two targets of a resource group: whichever comes second is told, and what
/// the first has is left alone, of the same content or another.
#[tokio::test(flavor = "multi_thread")]
async fn an_image_in_another_region_is_not_the_targets() {
    let fleet = fleet("{image}-{version}", &targets(1, &["westeurope", "eastus"]));
    sent(&fleet, "golden", "1").await;
    assert_eq!(done(&fleet, "golden", "1", &[WEST]).await.state, Standing::Succeeded);
    let first = fleet.images();

    let same = done(&fleet, "golden", "1", &[EAST]).await;
    assert_eq!((same.state, failed_with(&same)), (Standing::Failed, vec!["image-region-change"]), "{same:#?}");
    assert_eq!(fleet.images(), first);

    let desk = fleet.desk(fleet.ports.clone());
    assert!(forget_version(&desk, &"golden".parse().unwrap(), &"1".parse().unwrap()).await.unwrap());
    fleet.change_golden();
    sent(&fleet, "golden", "1").await;
    let other = done(&fleet, "golden", "1", &[EAST]).await;
    assert_eq!((other.state, failed_with(&other)), (Standing::Failed, vec!["image-region-change"]), "{other:#?}");
    assert_eq!(fleet.images(), first);

    // The same version, made again, takes the place of what it was before.
    let again = done(&fleet, "golden", "1", &[WEST]).await;
    assert_eq!(again.state, Standing::Succeeded, "{again:#?}");
    let digest = |image: &serde_json::Value| image["tags"]["goldfleet-digest"].clone();
    assert_eq!(fleet.images().values().map(digest).collect::<Vec<_>>(), [again.digest.as_str()]);
}

/// Two golden images whose managed images would have one name, be it only as Resource Manager compares names: the second is
/// refused, and the first one's image stays.
#[tokio::test(flavor = "multi_thread")]
async fn another_golden_images_image_is_left_alone() {
    let fleet = fleet("{image}-{version}-{region}", &targets(1, &["westeurope"]));
    sent(&fleet, "golden", "1-2").await;
    assert_eq!(done(&fleet, "golden", "1-2", &[]).await.state, Standing::Succeeded);
    let first = fleet.images();
    fleet.change_golden();
    for (image, version) in [("golden-1", "2"), ("Golden", "1-2")] {
        sent(&fleet, image, version).await;
        let status = done(&fleet, image, version, &[]).await;
        assert_eq!((status.state, failed_with(&status)), (Standing::Failed, vec!["image-foreign"]), "{status:#?}");
        assert_eq!(fleet.images(), first);
    }
}
