//! Jobs that make a managed image of one name: at the same moment, or the older one once more after the newer.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;
use std::sync::Arc;

use goldfleet_dispatcher::control::desk::DeskError;
use goldfleet_dispatcher::control::fanout::fan_out;
use goldfleet_dispatcher::control::request::request;
use goldfleet_dispatcher::control::retry::{Which, retry};
use goldfleet_dispatcher::control::status::{Standing, Status};
use goldfleet_model::ids::JobId;
use goldfleet_tests::faults::{Faults, faulty};
use goldfleet_tests::fleet::Fleet;
use goldfleet_tests::place;

fn fleet() -> Fleet {
    let config = place::SOURCE.to_owned() + "[dispatch]\nsweep = \"50ms\"\npatience = \"1s\"\n";
    Fleet::with(&config, &place::targets(1, &["westeurope"]), &place::golden())
}

async fn asked(fleet: &Fleet, image: &str, version: &str) -> JobId {
    fleet.upload_as(&fleet.ports, image, version, &|_| {}).await.unwrap();
    let desk = fleet.own_desk();
    request(&desk, &image.parse().unwrap(), &version.parse().unwrap(), &[], false).await.unwrap().job.id
}

fn codes(status: &Status) -> BTreeSet<&str> {
    status.failures.iter().map(|group| group.code.as_str()).collect()
}

/// The digests that the managed images' tags name.
fn digests(fleet: &Fleet) -> Vec<String> {
    let digest = |image: serde_json::Value| image["tags"]["goldfleet-digest"].as_str().unwrap().to_owned();
    fleet.images().into_values().map(digest).collect()
}

/// Two golden images whose managed images have one name. Both jobs have seen that it is free; whichever puts its image first, or
/// gets its answer late, one has the image and the other is told why not.
#[tokio::test(flavor = "multi_thread")]
async fn one_of_two_that_put_at_once_has_the_name() {
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
            false => Faults::before("ImagePlane.put", 0, meanwhile),
            true => Faults::late("ImagePlane.put", meanwhile),
        };
        fan_out(&fleet.own_desk(), &first).await.unwrap();
        let work = faulty(&fleet.ports, &faults);
        fleet.run(&work, 1, &first).await;
        let (first, second) = (fleet.status(&first).await, fleet.status(&second).await);
        let (winner, loser) = if late { (first, second) } else { (second, first) };
        assert_eq!((winner.state, loser.state), (Standing::Succeeded, Standing::Failed), "late: {late}\n{loser:#?}");
        assert_eq!(codes(&loser), BTreeSet::from(["image-foreign"]), "{loser:#?}");
        assert_eq!(digests(&fleet), [winner.digest.as_str()]);
    }
}

/// A version is uploaded anew with other content, and its image made, after the image of the old content could not be made. Trying
/// the old job again neither makes an image of the new VHD in the old one's name, nor removes the new one.
#[tokio::test(flavor = "multi_thread")]
async fn an_old_job_does_not_take_a_new_vhd_for_its_own() {
    let fleet = fleet();
    fleet.upload(&fleet.ports, "1").await.unwrap();
    let old = fleet.request("1").await;
    fleet.obstruct("subscriptions");
    assert_eq!(fleet.run(&fleet.ports, 1, &old).await.state, Standing::Failed);
    fleet.clear("subscriptions");
    fleet.take_poison().await;
    assert!(fleet.forget("1").await);
    fleet.change_golden();
    let (_, status) = fleet.roll_out(&fleet.ports, "1", 1).await;
    assert_eq!(status.state, Standing::Succeeded);
    let images = fleet.images();
    assert_eq!(fleet.retry(&old).await, 1);
    let status = fleet.run(&fleet.ports, 1, &old).await;
    assert_eq!((status.state, codes(&status)), (Standing::Failed, BTreeSet::from(["manifest-changed"])), "{status:#?}");
    assert_eq!(fleet.images(), images);
}

/// Two jobs of one image version never work on the same target at once: not by a retry either.
#[tokio::test(flavor = "multi_thread")]
async fn a_retry_does_not_work_beside_a_newer_job() {
    let fleet = Fleet::new();
    let (old, _) = fleet.roll_out_but_for_one().await;
    let newer = fleet.planned("1").await;
    let refused = retry(&fleet.own_desk(), &old, &Which::default()).await.unwrap_err();
    assert!(matches!(&refused, DeskError::Refused(why) if why.contains(&newer.to_string())), "{refused}");
    fleet.run(&fleet.ports, 1, &newer).await;
    assert_eq!(fleet.taken_up(&old).await, 2);
}
