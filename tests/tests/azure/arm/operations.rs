use std::sync::{Arc, Mutex};
use std::time::Duration;

use goldfleet_tests::azure::arm::{Clock, Collision, Links, LongRunning, OperationEnd};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::arm::fixture::{ArmFixture, Reply, body, image, world};

fn settings() -> LongRunning {
    LongRunning { polls: 2, retry_after: Some(7), ..LongRunning::default() }
}

async fn fixture(settings: LongRunning) -> ArmFixture {
    ArmFixture::new(world().long_running(settings)).await
}

fn state(reply: &Reply) -> &Value {
    &reply.body["properties"]["provisioningState"]
}

#[tokio::test]
async fn status_is_in_progress_until_done() {
    let fixture = fixture(settings()).await;
    let begun = fixture.put(&image("golden"), &body()).await;
    assert_eq!((begun.status, begun.header("retry-after")), (201, "7"));
    let at = begun.header("azure-asyncoperation");
    for _ in 0..2 {
        let status = fixture.get(at).await;
        assert_eq!((status.status, &status.body["status"]), (200, &json!("InProgress")));
        assert_eq!(status.header("retry-after"), "7");
        assert!(status.body["startTime"].is_string() && status.body.get("endTime").is_none());
    }
    for _ in 0..2 {
        let status = fixture.get(at).await;
        assert_eq!((status.status, &status.body["status"]), (200, &json!("Succeeded")));
        assert!(status.body["endTime"].is_string() && status.body.get("error").is_none());
    }
}

#[tokio::test]
async fn result_is_accepted_until_available() {
    let fixture = fixture(settings()).await;
    let begun = fixture.put(&image("golden"), &body()).await;
    let at = begun.header("location");
    for _ in 0..2 {
        let reply = fixture.get(at).await;
        assert_eq!((reply.status, reply.header("retry-after"), reply.header("location")), (202, "7", at));
    }
    let done = fixture.get(at).await;
    assert_eq!((done.status, state(&done), &done.body["name"]), (200, &json!("Succeeded"), &json!("golden")));
    let begun = fixture.delete(&image("golden")).await;
    let at = begun.header("location");
    assert_eq!((begun.status, fixture.get(at).await.status, fixture.get(at).await.status), (202, 202, 202));
    assert_eq!(fixture.get(at).await.status, 204);
}

#[tokio::test]
async fn operation_with_one_or_no_address() {
    for (links, has) in [
        (Links::Both, [true, true]),
        (Links::Location, [true, false]),
        (Links::AsyncOperation, [false, true]),
        (Links::None, [false, false]),
    ] {
        let fixture = fixture(LongRunning { links, retry_after: None, ..settings() }).await;
        let begun = fixture.put(&image("golden"), &body()).await;
        let headers = ["location", "azure-asyncoperation"].map(|name| begun.headers.contains_key(name));
        assert_eq!((headers, begun.headers.contains_key("retry-after")), (has, false), "{links:?}");
        for expected in ["Creating", "Creating", "Succeeded"] {
            assert_eq!(state(&fixture.get(&image("golden")).await), expected);
        }
    }
}

#[tokio::test]
async fn addresses_are_opaque() {
    let fixture = fixture(LongRunning { address_bytes: 4000, ..settings() }).await;
    let begun = fixture.put(&image("golden"), &body()).await;
    for header in ["location", "azure-asyncoperation"] {
        let at = begun.header(header);
        assert!((3800..4300).contains(&at.len()), "{}", at.len());
        let altered = [at.replace("&s=", "&s=x"), at.replace("api-version=2025-04-01&", ""), at.replace("?p=", "?P=")];
        for altered in altered {
            assert_ne!(altered, at);
            fixture.get(&altered).await.refused(404, "NotFound", "not found");
        }
        assert!(fixture.get(at).await.status < 300);
    }
    let other = fixture.request(reqwest::Method::GET, begun.header("location"));
    assert_eq!(crate::arm::fixture::reply(other).await.status, 401, "an address is no token");
}

#[tokio::test]
async fn operation_completes_immediately() {
    let fixture = fixture(LongRunning { at_once: true, ..settings() }).await;
    for expected in [201, 200] {
        let reply = fixture.put(&image("golden"), &body()).await;
        assert_eq!((reply.status, state(&reply)), (expected, &json!("Succeeded")));
        assert!(["location", "azure-asyncoperation", "retry-after"].iter().all(|h| !reply.headers.contains_key(*h)));
    }
    let end = OperationEnd::Fails { code: "OverconstrainedAllocationRequest".to_owned(), message: "no".to_owned() };
    fixture.manager.world().write(|world| world.long_running.end = end);
    fixture.delete(&image("golden")).await.refused(400, "OverconstrainedAllocationRequest", "no");
    fixture.put(&image("golden"), &body()).await.refused(400, "OverconstrainedAllocationRequest", "no");
    fixture.manager.world().write(|world| world.long_running.end = OperationEnd::Succeeds);
    assert_eq!(fixture.delete(&image("golden")).await.status, 200);
    assert_eq!(fixture.delete(&image("golden")).await.status, 204);
}

#[tokio::test]
async fn operations_fail_cancel_or_vanish() {
    let fails = OperationEnd::Fails { code: "AllocationFailed".to_owned(), message: "no room".to_owned() };
    let cases =
        [(fails, "Failed", "AllocationFailed", 400), (OperationEnd::Canceled, "Canceled", "OperationCanceled", 409)];
    for (end, status, code, http) in cases {
        let fixture = fixture(LongRunning { end, ..settings() }).await;
        let begun = fixture.put(&image("golden"), &body()).await;
        let ended = fixture.finish(&begun).await;
        assert_eq!((&ended["status"], &ended["error"]["code"]), (&json!(status), &json!(code)));
        fixture.get(begun.header("location")).await.refused(http, code, "");
        assert_eq!(fixture.get(&image("golden")).await.status, 404);
    }
    let fixture = fixture(LongRunning { end: OperationEnd::Vanishes, ..settings() }).await;
    let begun = fixture.put(&image("golden"), &body()).await;
    assert_eq!(fixture.finish(&begun).await["status"], "Succeeded");
    assert_eq!(fixture.get(&image("golden")).await.status, 404);
    assert_eq!(fixture.get(begun.header("location")).await.status, 404);
}

#[tokio::test]
async fn failed_delete_keeps_image() {
    let fixture = fixture(LongRunning { at_once: true, ..settings() }).await;
    fixture.put(&image("golden"), &body()).await;
    let end = OperationEnd::Fails { code: "InternalExecutionError".to_owned(), message: "no".to_owned() };
    fixture.manager.world().write(|world| {
        world.long_running_of.insert("Golden".to_owned(), LongRunning { end, ..settings() });
    });
    let begun = fixture.delete(&image("golden")).await;
    assert_eq!(fixture.finish(&begun).await["status"], "Failed");
    assert_eq!(state(&fixture.get(&image("golden")).await), "Failed");
}

#[tokio::test]
async fn later_change_preempts_earlier() {
    let fixture = fixture(settings()).await;
    let first = fixture.put(&image("golden"), &body()).await;
    let second = fixture.put(&image("golden"), &body()).await;
    assert_eq!((second.status, state(&second)), (200, &json!("Creating")));
    let ended = fixture.finish(&first).await;
    assert_eq!((&ended["status"], &ended["error"]["code"]), (&json!("Canceled"), &json!("OperationPreempted")));
    assert_eq!(fixture.finish(&second).await["status"], "Succeeded");
    assert_eq!(state(&fixture.get(&image("golden")).await), "Succeeded");

    let (one, two) = (fixture.delete(&image("golden")).await, fixture.delete(&image("golden")).await);
    fixture.put(&image("golden"), &body()).await.refused(409, "OperationNotAllowed", "in progress");
    assert_eq!(fixture.finish(&one).await["status"], "Succeeded");
    assert_eq!(fixture.finish(&two).await["status"], "Succeeded");
}

#[tokio::test]
async fn later_change_conflicts_with_earlier() {
    let fixture = fixture(settings()).await;
    fixture.manager.world().write(|world| world.collision = Collision::Conflicts);
    let first = fixture.put(&image("golden"), &body()).await;
    fixture.put(&image("golden"), &body()).await.refused(409, "OperationNotAllowed", "in progress");
    fixture.delete(&image("golden")).await.refused(409, "OperationNotAllowed", "in progress");
    assert_eq!(fixture.finish(&first).await["status"], "Succeeded");
}

#[tokio::test]
async fn operations_take_configured_time() {
    let time = Arc::new(Mutex::new(Timestamp::now()));
    let shared = Arc::clone(&time);
    let clock = Clock::new(move || *shared.lock().unwrap());
    let settings = LongRunning { polls: 0, duration: Duration::from_secs(30), ..settings() };
    let mut world = world().long_running(settings);
    world.clock = clock;
    let fixture = ArmFixture::new(world).await;
    let begun = fixture.put(&image("golden"), &body()).await;
    for _ in 0..3 {
        assert_eq!(fixture.get(begun.header("azure-asyncoperation")).await.body["status"], "InProgress");
    }
    assert_eq!(fixture.manager.images()[0]["properties"]["provisioningState"], "Creating");
    *time.lock().unwrap() += SignedDuration::from_secs(30);
    assert_eq!(fixture.manager.images()[0]["properties"]["provisioningState"], "Succeeded");
    assert_eq!(fixture.get(begun.header("azure-asyncoperation")).await.body["status"], "Succeeded");
}
