use std::sync::{Arc, Mutex};
use std::time::Duration;

use goldfleet_tests::azure::arm::{Clock, Collision, End, Links, LongRunning};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::arm::site::{Reply, Site, body, image, world};

fn settings() -> LongRunning {
    LongRunning { looks: 2, retry_after: Some(7), ..LongRunning::default() }
}

async fn site(settings: LongRunning) -> Site {
    Site::new(world().long_running(settings)).await
}

fn state(reply: &Reply) -> &Value {
    &reply.body["properties"]["provisioningState"]
}

#[tokio::test]
async fn the_status_tells_until_it_is_done() {
    let site = site(settings()).await;
    let begun = site.put(&image("golden"), &body()).await;
    assert_eq!((begun.status, begun.header("retry-after")), (201, "7"));
    let at = begun.header("azure-asyncoperation");
    for _ in 0..2 {
        let status = site.get(at).await;
        assert_eq!((status.status, &status.body["status"]), (200, &json!("InProgress")));
        assert_eq!(status.header("retry-after"), "7");
        assert!(status.body["startTime"].is_string() && status.body.get("endTime").is_none());
    }
    for _ in 0..2 {
        let status = site.get(at).await;
        assert_eq!((status.status, &status.body["status"]), (200, &json!("Succeeded")));
        assert!(status.body["endTime"].is_string() && status.body.get("error").is_none());
    }
}

#[tokio::test]
async fn the_result_is_accepted_until_it_is_there() {
    let site = site(settings()).await;
    let begun = site.put(&image("golden"), &body()).await;
    let at = begun.header("location");
    for _ in 0..2 {
        let reply = site.get(at).await;
        assert_eq!((reply.status, reply.header("retry-after"), reply.header("location")), (202, "7", at));
    }
    let done = site.get(at).await;
    assert_eq!((done.status, state(&done), &done.body["name"]), (200, &json!("Succeeded"), &json!("golden")));
    let begun = site.delete(&image("golden")).await;
    let at = begun.header("location");
    assert_eq!((begun.status, site.get(at).await.status, site.get(at).await.status), (202, 202, 202));
    assert_eq!(site.get(at).await.status, 204);
}

#[tokio::test]
async fn only_one_address_or_none() {
    for (links, has) in [
        (Links::Both, [true, true]),
        (Links::Location, [true, false]),
        (Links::AsyncOperation, [false, true]),
        (Links::None, [false, false]),
    ] {
        let site = site(LongRunning { links, retry_after: None, ..settings() }).await;
        let begun = site.put(&image("golden"), &body()).await;
        let headers = ["location", "azure-asyncoperation"].map(|name| begun.headers.contains_key(name));
        assert_eq!((headers, begun.headers.contains_key("retry-after")), (has, false), "{links:?}");
        for expected in ["Creating", "Creating", "Succeeded"] {
            assert_eq!(state(&site.get(&image("golden")).await), expected);
        }
    }
}

#[tokio::test]
async fn addresses_are_long_and_opaque() {
    let site = site(LongRunning { address_bytes: 4000, ..settings() }).await;
    let begun = site.put(&image("golden"), &body()).await;
    for header in ["location", "azure-asyncoperation"] {
        let at = begun.header(header);
        assert!((3800..4300).contains(&at.len()), "{}", at.len());
        let altered = [at.replace("&s=", "&s=x"), at.replace("api-version=2025-04-01&", ""), at.replace("?p=", "?P=")];
        for altered in altered {
            assert_ne!(altered, at);
            site.get(&altered).await.refused(404, "NotFound", "not found");
        }
        assert!(site.get(at).await.status < 300);
    }
    let other = site.request(reqwest::Method::GET, begun.header("location"));
    assert_eq!(crate::arm::site::reply(other).await.status, 401, "an address is no token");
}

#[tokio::test]
async fn done_at_once() {
    let site = site(LongRunning { at_once: true, ..settings() }).await;
    for expected in [201, 200] {
        let reply = site.put(&image("golden"), &body()).await;
        assert_eq!((reply.status, state(&reply)), (expected, &json!("Succeeded")));
        assert!(["location", "azure-asyncoperation", "retry-after"].iter().all(|h| !reply.headers.contains_key(*h)));
    }
    let end = End::Fails { code: "OverconstrainedAllocationRequest".to_owned(), message: "no".to_owned() };
    site.manager.world().change(|world| world.long_running.end = end);
    site.delete(&image("golden")).await.refused(400, "OverconstrainedAllocationRequest", "no");
    site.put(&image("golden"), &body()).await.refused(400, "OverconstrainedAllocationRequest", "no");
    site.manager.world().change(|world| world.long_running.end = End::Succeeds);
    assert_eq!(site.delete(&image("golden")).await.status, 200);
    assert_eq!(site.delete(&image("golden")).await.status, 204);
}

#[tokio::test]
async fn other_ends() {
    let fails = End::Fails { code: "AllocationFailed".to_owned(), message: "no room".to_owned() };
    let cases = [(fails, "Failed", "AllocationFailed", 400), (End::Canceled, "Canceled", "OperationCanceled", 409)];
    for (end, status, code, http) in cases {
        let site = site(LongRunning { end, ..settings() }).await;
        let begun = site.put(&image("golden"), &body()).await;
        let ended = site.finish(&begun).await;
        assert_eq!((&ended["status"], &ended["error"]["code"]), (&json!(status), &json!(code)));
        site.get(begun.header("location")).await.refused(http, code, "");
        assert_eq!(site.get(&image("golden")).await.status, 404);
    }
    let site = site(LongRunning { end: End::Vanishes, ..settings() }).await;
    let begun = site.put(&image("golden"), &body()).await;
    assert_eq!(site.finish(&begun).await["status"], "Succeeded");
    assert_eq!(site.get(&image("golden")).await.status, 404);
    assert_eq!(site.get(begun.header("location")).await.status, 404);
}

#[tokio::test]
async fn a_failed_removal_leaves_the_image() {
    let site = site(LongRunning { at_once: true, ..settings() }).await;
    site.put(&image("golden"), &body()).await;
    let end = End::Fails { code: "InternalExecutionError".to_owned(), message: "no".to_owned() };
    site.manager.world().change(|world| {
        world.long_running_of.insert("Golden".to_owned(), LongRunning { end, ..settings() });
    });
    let begun = site.delete(&image("golden")).await;
    assert_eq!(site.finish(&begun).await["status"], "Failed");
    assert_eq!(state(&site.get(&image("golden")).await), "Failed");
}

#[tokio::test]
async fn a_later_change_preempts_an_earlier_one() {
    let site = site(settings()).await;
    let first = site.put(&image("golden"), &body()).await;
    let second = site.put(&image("golden"), &body()).await;
    assert_eq!((second.status, state(&second)), (200, &json!("Creating")));
    let ended = site.finish(&first).await;
    assert_eq!((&ended["status"], &ended["error"]["code"]), (&json!("Canceled"), &json!("OperationPreempted")));
    assert_eq!(site.finish(&second).await["status"], "Succeeded");
    assert_eq!(state(&site.get(&image("golden")).await), "Succeeded");

    let (one, two) = (site.delete(&image("golden")).await, site.delete(&image("golden")).await);
    site.put(&image("golden"), &body()).await.refused(409, "OperationNotAllowed", "in progress");
    assert_eq!(site.finish(&one).await["status"], "Succeeded");
    assert_eq!(site.finish(&two).await["status"], "Succeeded");
}

#[tokio::test]
async fn or_conflicts_with_it() {
    let site = site(settings()).await;
    site.manager.world().change(|world| world.collision = Collision::Conflicts);
    let first = site.put(&image("golden"), &body()).await;
    site.put(&image("golden"), &body()).await.refused(409, "OperationNotAllowed", "in progress");
    site.delete(&image("golden")).await.refused(409, "OperationNotAllowed", "in progress");
    assert_eq!(site.finish(&first).await["status"], "Succeeded");
}

#[tokio::test]
async fn operations_take_their_time() {
    let time = Arc::new(Mutex::new(Timestamp::now()));
    let shared = Arc::clone(&time);
    let clock = Clock::new(move || *shared.lock().unwrap());
    let settings = LongRunning { looks: 0, takes: Duration::from_secs(30), ..settings() };
    let mut world = world().long_running(settings);
    world.clock = clock;
    let site = Site::new(world).await;
    let begun = site.put(&image("golden"), &body()).await;
    for _ in 0..3 {
        assert_eq!(site.get(begun.header("azure-asyncoperation")).await.body["status"], "InProgress");
    }
    assert_eq!(site.manager.images()[0]["properties"]["provisioningState"], "Creating");
    *time.lock().unwrap() += SignedDuration::from_secs(30);
    assert_eq!(site.manager.images()[0]["properties"]["provisioningState"], "Succeeded");
    assert_eq!(site.get(begun.header("azure-asyncoperation")).await.body["status"], "Succeeded");
}
