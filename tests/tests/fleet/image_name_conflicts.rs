//! Jobs that create managed images with the same name: concurrently, or the older job again after the newer one.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;
use std::sync::Arc;

use goldfleet_dispatcher::control::context::ControlError;
use goldfleet_dispatcher::control::fan_out::fan_out;
use goldfleet_dispatcher::control::request::request_job;
use goldfleet_dispatcher::control::retry::{RetryFilter, retry};
use goldfleet_dispatcher::control::status::{ReportedState, Status};
use goldfleet_model::ids::JobId;
use goldfleet_tests::faults::{Faults, with_faults};
use goldfleet_tests::fleet::InProcessFleet;
use goldfleet_tests::process_fixture;

fn fleet() -> InProcessFleet {
    let config = process_fixture::SOURCE.to_owned() + "[dispatch]\nsweep = \"50ms\"\n";
    InProcessFleet::with(&config, &process_fixture::targets(1, &["westeurope"]), &process_fixture::golden())
}

async fn asked(fleet: &InProcessFleet, image: &str, version: &str) -> JobId {
    fleet.upload_as(&fleet.ports, image, version, &|_| {}).await.unwrap();
    let control = fleet.control_with_own_ports();
    request_job(&control, &image.parse().unwrap(), &version.parse().unwrap(), &[], false).await.unwrap().job.id
}

fn codes(status: &Status) -> BTreeSet<&str> {
    status.failures.iter().map(|group| group.code.as_str()).collect()
}

/// The digests in the tags of the managed images.
fn digests(fleet: &InProcessFleet) -> Vec<String> {
    let digest = |image: serde_json::Value| image["tags"]["goldfleet-digest"].as_str().unwrap().to_owned();
    fleet.images().into_values().map(digest).collect()
}

/// Two golden images have the same name of managed images, and both jobs have seen that the name is free. In any order
/// of their requests and responses, one job gets the image, and the other gets an error with the reason.
#[tokio::test(flavor = "multi_thread")]
async fn concurrent_puts_of_one_name_have_one_winner() {
    for late in [false, true] {
        let fleet = Arc::new(fleet());
        let first = asked(&fleet, "golden", "1-2").await;
        fleet.change_golden();
        let second = asked(&fleet, "golden-1", "2").await;
        let (elsewhere, id) = (Arc::clone(&fleet), second.clone());
        let meanwhile = async move {
            elsewhere.run(&elsewhere.ports, 1, &id).await;
        };
        let faults = match late {
            false => Faults::before("ResourceService.put", 0, meanwhile),
            true => Faults::late("ResourceService.put", meanwhile),
        };
        fan_out(&fleet.control_with_own_ports(), &first).await.unwrap();
        let work = with_faults(&fleet.ports, &faults);
        fleet.run(&work, 1, &first).await;
        let (first, second) = (fleet.status(&first).await, fleet.status(&second).await);
        let (winner, loser) = if late { (first, second) } else { (second, first) };
        assert_eq!(
            (winner.state, loser.state),
            (ReportedState::Succeeded, ReportedState::Failed),
            "late: {late}\n{loser:#?}"
        );
        assert_eq!(codes(&loser), BTreeSet::from(["image-foreign"]), "{loser:#?}");
        assert_eq!(digests(&fleet), [winner.digest.as_deref().unwrap()]);
    }
}

/// A version is uploaded again with other content, and its image is created, after the image of the old content could
/// not be created. Retrying the old job neither creates an image of the new VHD under the old job's name nor deletes
/// the new VHD.
#[tokio::test(flavor = "multi_thread")]
async fn old_job_does_not_adopt_new_vhd() {
    let fleet = fleet();
    fleet.upload(&fleet.ports, "1").await.unwrap();
    let old = fleet.request("1").await;
    fleet.block_path("subscriptions");
    assert_eq!(fleet.run(&fleet.ports, 1, &old).await.state, ReportedState::Failed);
    fleet.unblock_path("subscriptions");
    fleet.drain_dead_letters().await;
    assert!(fleet.delete_version("1").await);
    fleet.change_golden();
    let (_, status) = fleet.roll_out(&fleet.ports, "1", 1).await;
    assert_eq!(status.state, ReportedState::Succeeded);
    let images = fleet.images();
    assert_eq!(fleet.retry(&old).await, 1);
    let status = fleet.run(&fleet.ports, 1, &old).await;
    assert_eq!(
        (status.state, codes(&status)),
        (ReportedState::Failed, BTreeSet::from(["manifest-changed"])),
        "{status:#?}"
    );
    assert_eq!(fleet.images(), images);
}

/// Two jobs of one image version must not work on the same target at the same time, not even after a retry.
#[tokio::test(flavor = "multi_thread")]
async fn retry_is_rejected_if_newer_job_is_open() {
    let fleet = InProcessFleet::new();
    let (old, _) = fleet.roll_out_with_one_failure().await;
    let newer = fleet.plan_job("1").await;
    let refused = retry(&fleet.control_with_own_ports(), &old, &RetryFilter::default()).await.unwrap_err();
    assert!(matches!(&refused, ControlError::Refused(why) if why.contains(&newer.to_string())), "{refused}");
    fleet.run(&fleet.ports, 1, &newer).await;
    assert_eq!(fleet.retry_and_run(&old).await, 2);
}
