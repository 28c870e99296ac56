//! Rings, in one process and with real programs: one after the other, stopped by a failure, and started by an approval
//! if it is required.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::io::{BufRead as _, BufReader};
use std::process::{Output, Stdio};
use std::time::Duration;

use goldfleet_dispatcher::control::approve::approve;
use goldfleet_dispatcher::control::cancel::cancel;
use goldfleet_dispatcher::control::retry::{RetryFilter, retry_selected};
use goldfleet_dispatcher::control::status::ReportedState;
use goldfleet_model::ids::JobId;
use goldfleet_model::operation::{OperationId, OperationState};
use goldfleet_tests::faults::{Faults, LostPart, with_faults};
use goldfleet_tests::fleet::InProcessFleet;
use goldfleet_tests::process_fixture::{Process, ProcessFixture, SOURCE, golden, targets};
use serde_json::Value;

/// A ring starts when all images of the previous one exist. Stores are filled before that.
#[tokio::test(flavor = "multi_thread")]
async fn rings_run_in_order() {
    let fleet = InProcessFleet::new();
    fleet.put_eastus_in_ring_1();
    let (job, _) = fleet.roll_out(&fleet.ports, "1", 2).await;
    fleet.assert_all_done(&job).await;
    let events = fleet.ports.table.events(&job, None).await.unwrap();
    let of = |what: &str, operation: &str| {
        let found = events.iter().filter(|event| event.what == what);
        found
            .filter(|event| event.operation.as_ref().is_some_and(|id| id.step() == operation))
            .map(|event| (region(event.operation.as_ref().unwrap()), event.at))
            .collect::<Vec<_>>()
    };
    let first_ring_done =
        of("succeed", "image").into_iter().filter(|(region, _)| region == "westeurope").map(|(_, at)| at).max();
    let second_ring_begun =
        of("claim", "copy").into_iter().filter(|(region, _)| region == "eastus").map(|(_, at)| at).min();
    assert!(first_ring_done.unwrap() <= second_ring_begun.unwrap(), "{events:#?}");
}

/// A failed ring prevents later rings from starting. A retry completes all of them.
#[tokio::test(flavor = "multi_thread")]
async fn failed_ring_blocks_later_rings() {
    let fleet = InProcessFleet::new();
    fleet.put_eastus_in_ring_1();
    fleet.upload(&fleet.ports, "1").await.unwrap();
    fleet.block_path("stage2westeurope");
    let (job, status) = fleet.request_and_run(&fleet.ports, "1", 1).await;
    assert_eq!(status.state, ReportedState::Failed);
    assert_eq!(
        (
            status.phases.of_kind("copy").succeeded,
            status.phases.of_kind("copy").failed,
            status.phases.of_kind("copy").cancelled
        ),
        (1, 1, 2)
    );
    let rows = fleet.ports.table.operations(&job).await.unwrap();
    let stopped = rows.iter().filter(|row| row.value.failure.as_ref().is_some_and(|f| f.code == "ring-stopped"));
    assert_eq!(stopped.count(), 4, "copies and images name the ring that stopped them");
    fleet.drain_dead_letters().await;
    fleet.unblock_path("stage2westeurope");
    assert_eq!(fleet.retry_and_run(&job).await, 6);
}

/// A retry of a later ring alone would be blocked again at once, so it is refused with what has to succeed first. What
/// else is selected is retried.
#[tokio::test(flavor = "multi_thread")]
async fn retry_of_a_ring_names_the_earlier_ring_that_failed() {
    let fleet = InProcessFleet::new();
    fleet.put_eastus_in_ring_1();
    fleet.upload(&fleet.ports, "1").await.unwrap();
    fleet.block_path("stage1westeurope");
    fleet.block_path("stage2westeurope");
    // A store that a later ring reads from failed too. It is not retried for operations that are not.
    fleet.block_path("stage1eastus");
    let (job, _) = fleet.request_and_run(&fleet.ports, "1", 1).await;
    fleet.drain_dead_letters().await;
    let control = fleet.control_with_own_ports();
    let select = |targets: &[&str]| {
        let targets = targets.iter().map(|text| text.parse().unwrap()).collect();
        RetryFilter { targets, ..RetryFilter::default() }
    };
    let refused = retry_selected(&control, &job, &select(&["ring=1"])).await.unwrap_err();
    let text = refused.to_string();
    assert!(text.contains("ring 1 waits for copy of 00000000-0000-0000-0000-00000000000"), "{text}");
    assert!(text.contains("/westeurope, which failed and is not selected; select it too"), "{text}");
    assert_eq!((refused.exit_code(), fleet.status(&job).await.state), (2, ReportedState::Failed), "nothing changed");
    for path in ["stage1westeurope", "stage2westeurope", "stage1eastus"] {
        fleet.unblock_path(path);
    }
    let first = "00000000-0000-0000-0000-000000000001/westeurope";
    let retried = retry_selected(&control, &job, &select(&[first, "ring=1"])).await.unwrap();
    assert!(retried.count >= 2, "the copy and the image of the first target, and what they read from");
    assert!(
        retried.held.unwrap().contains("ring 1 waits for copy of"),
        "the other target of the first ring failed too"
    );
    fleet.run(&fleet.ports, 1, &job).await;
    fleet.retry_and_run(&job).await;
    fleet.assert_all_done(&job).await;
}

/// The region in the name of an operation's group.
fn region(id: &OperationId) -> String {
    id.group().as_str().split('-').next().unwrap_or_default().to_owned()
}

/// Runs the fleet while `operator` acts on its job.
async fn run_with<T>(fleet: &InProcessFleet, job: &JobId, operator: impl Future<Output = T>) -> T {
    let (status, told) = tokio::join!(fleet.run(&fleet.ports, 2, job), operator);
    assert_eq!(status.job, job.to_string());
    told
}

/// Waits until a ring of the job waits for approval.
async fn until_it_waits(fleet: &InProcessFleet, job: &JobId) -> u32 {
    loop {
        let approvals = fleet.status(job).await.approvals.unwrap();
        if let Some(ring) = approvals.waits {
            return ring;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The states of the copies in the region of ring 1.
async fn second_ring(fleet: &InProcessFleet, job: &JobId) -> Vec<OperationState> {
    let rows = fleet.ports.table.operations(job).await.unwrap();
    let copies = rows.into_iter().map(|row| row.value).filter(|row| row.id.step() == "copy");
    copies.filter(|copy| copy.place.region.as_str() == "eastus").map(|copy| copy.state).collect()
}

/// A ring that needs approval starts when the approval is given, even if any call of the approval is lost. A
/// cancellation and a retry do not start it.
#[tokio::test(flavor = "multi_thread")]
async fn ring_waits_for_approval() {
    let fleet = InProcessFleet::new();
    fleet.put_eastus_in_ring_1();
    fleet.upload(&fleet.ports, "1").await.unwrap();
    let job = fleet.request_with_approval("1").await;
    let control = fleet.control_with_own_ports();
    let early = approve(&control.jobs, &job, None, "alice").await.unwrap_err().to_string();
    assert!(early.contains("is not planned yet"), "{early}");

    let cancelled = async {
        assert_eq!(until_it_waits(&fleet, &job).await, 1);
        // Long enough for several reconciler passes. None of them may start the ring.
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert_eq!(second_ring(&fleet, &job).await, [OperationState::Waiting; 2]);
        let seeds = fleet.status(&job).await.phases.of_kind("seed");
        assert_eq!(seeds.succeeded, seeds.total, "stores are filled meanwhile");
        cancel(&control.jobs, &job).await.unwrap();
    };
    run_with(&fleet, &job, cancelled).await;
    assert_eq!(fleet.status(&job).await.state, ReportedState::Cancelled);
    let late = approve(&control.jobs, &job, None, "alice").await.unwrap_err();
    assert!(late.to_string().contains("is cancelled"), "{late}");
    assert_eq!(late.exit_code(), 2);

    fleet.retry(&job).await;
    let approved = async {
        assert_eq!(until_it_waits(&fleet, &job).await, 1, "a retry is no approval");
        let other = approve(&control.jobs, &job, Some(2), "alice").await.unwrap_err().to_string();
        assert!(other.contains("waits for approval of ring 1"), "{other}");
        let lost = with_faults(&fleet.ports, &Faults::failing_at("JobTable.commit_job", 0, LostPart::Answer));
        approve(&fleet.control_with(lost).jobs, &job, None, "alice").await.unwrap_err();
        let again = approve(&control.jobs, &job, Some(1), "bob").await.unwrap();
        assert_eq!((again.new, again.approval.ring, again.approval.by.as_str()), (false, 1, "alice"));
    };
    run_with(&fleet, &job, approved).await;
    fleet.assert_all_done(&job).await;
    let approvals = fleet.status(&job).await.approvals.unwrap();
    assert_eq!((approvals.waits, approvals.given.len(), approvals.given[0].by.as_str()), (None, 1, "alice"));
    let events = fleet.ports.table.events(&job, None).await.unwrap();
    let given: Vec<_> = events.iter().filter(|event| event.what == "approve").map(|event| event.who.as_str()).collect();
    assert_eq!(given, ["alice"]);
    let done = approve(&control.jobs, &job, None, "alice").await.unwrap_err().to_string();
    assert!(done.contains("is succeeded"), "{done}");
}

/// If a ring already has its images from an earlier job, the next ring still needs approval.
#[tokio::test(flavor = "multi_thread")]
async fn existing_first_ring_does_not_approve_next() {
    let fleet = InProcessFleet::new();
    fleet.roll_out(&fleet.ports, "1", 1).await;
    fleet.delete_eastus_images();
    fleet.put_eastus_in_ring_1();
    let job = fleet.request_with_approval("1").await;
    let control = fleet.control_with_own_ports();
    let approved = async {
        assert_eq!(until_it_waits(&fleet, &job).await, 1);
        assert_eq!(second_ring(&fleet, &job).await, [OperationState::Waiting; 2]);
        approve(&control.jobs, &job, None, "alice").await.unwrap();
    };
    run_with(&fleet, &job, approved).await;
    let status = fleet.status(&job).await;
    assert_eq!(
        (status.state, status.phases.of_kind("image").skipped, status.phases.of_kind("image").succeeded),
        (ReportedState::Succeeded, 2, 2)
    );
}

const CONFIG: &str = r#"
    [dispatch]
    sweep = "50ms"
"#;

/// A fleet of processes with one target in each of two rings, and with version 1 uploaded.
fn two_rings() -> ProcessFixture {
    let targets = targets(1, &["westeurope", "eastus"]);
    let targets = targets.replace("region = \"eastus\"", "region = \"eastus\"\nring = 1");
    let fixture = ProcessFixture::new(&format!("{SOURCE}{CONFIG}"), &targets, &golden());
    fixture.succeed(&fixture.upload(&["--no-dispatch"]));
    fixture
}

const DISPATCH: [&str; 5] = ["dispatch", "--image", "golden", "--version", "1"];

fn said(output: &Output) -> (Option<i32>, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout) + &text(&output.stderr))
}

/// Waits until a ring of the newest job waits for approval. Returns the status.
fn until_asked(fixture: &ProcessFixture) -> Value {
    fixture.wait_until("a ring that waits", |status| status["approvals"]["waits"].is_u64())
}

#[test]
fn approve_command_releases_ring() {
    let fixture = two_rings();
    let mut waiting = fixture.command("goldfleet", &[&DISPATCH[..], &["--approve", "--wait"]].concat());
    let mut waiting = Process(waiting.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
    let status = until_asked(&fixture);
    let job = status["job"].as_str().unwrap();
    assert_eq!((&status["state"], &status["approvals"]["waits"]), (&Value::from("running"), &Value::from(1)));
    let hint = format!("ring 1 waits for approval: goldfleet approve {job}");
    let (code, text) = said(&fixture.run(&["status"]));
    assert!(code == Some(0) && text.contains(&hint), "{text}");
    let row = text.lines().find(|line| line.starts_with("1 ")).unwrap();
    assert!(row.starts_with("1     waiting") && row.ends_with("waits for approval"), "{text}");
    let (_, text) = said(&fixture.run(&["jobs"]));
    assert!(text.contains("running (approve ring 1)"), "{text}");
    // The waiting command prints it too.
    let lines = BufReader::new(waiting.0.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.take_while(|line| !line.contains(&hint)).count() < 100);

    let (code, text) = said(&fixture.run(&["approve", job, "--ring", "7"]));
    assert!(code == Some(2) && text.contains("waits for approval of ring 1"), "{text}");
    let (code, text) = said(&fixture.run(&["approve", job, "--by", "\u{1b}[31m"]));
    assert!(code == Some(2) && text.contains("control characters"), "{text}");
    let (code, text) = said(&fixture.run(&["approve", "--yes", "--by", "alice"]));
    assert_eq!(code, Some(0), "{text}");
    let approver =
        text.lines().find_map(|line| line.strip_prefix(&format!("approved ring 1 of job {job} as "))).unwrap();
    assert!(approver.starts_with("alice (") && approver.contains('@') && approver.ends_with(')'), "{approver}");
    assert_eq!(waiting.0.wait().unwrap().code(), Some(0));
    fixture.assert_succeeded_once(2);
    let (code, text) = said(&fixture.run(&["approve", job, "--ring", "1"]));
    assert_eq!((code, text), (Some(0), format!("ring 1 of job {job} was already approved by {approver}\n")));
    let (code, text) = said(&fixture.run(&["approve", job]));
    assert!(code == Some(2) && text.contains("is succeeded: no ring waits for approval"), "{text}");
    let (_, text) = said(&fixture.run(&["status"]));
    assert!(text.contains(&format!("approved by {approver} at ")) && !text.contains("waits"), "{text}");
}

#[test]
fn approve_errors() {
    let fixture = two_rings();
    fixture.succeed(&DISPATCH);
    let (code, text) = said(&fixture.run(&["approve", "--yes"]));
    assert!(code == Some(2) && text.contains("needs no approval: it was not dispatched with --approve"), "{text}");
    let (code, text) = said(&fixture.run(&[&DISPATCH[..], &["--approve"]].concat()));
    assert!(code == Some(2) && text.contains("without approvals between its rings"), "{text}");
    fixture.succeed(&["cancel", "--yes"]);
    // The configuration can require approval for every job.
    let config = CONFIG.replace("[dispatch]", "[dispatch]\n    approve = true");
    std::fs::write(fixture.path("goldfleet.toml"), format!("{SOURCE}{config}")).unwrap();
    fixture.succeed(&fixture.upload(&[]));
    let (code, text) = said(&fixture.run(&["approve", "--yes"]));
    assert!(code == Some(2) && text.contains("is not planned yet"), "{text}");
    assert_eq!(fixture.json(&["status"])["approvals"], serde_json::json!({ "waits": null, "given": [] }));
}
