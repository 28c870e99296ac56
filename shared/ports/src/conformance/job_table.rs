//! The conformance suite of job tables. Each test creates its own job, so runs do not affect each other.
#![expect(clippy::expect_used, clippy::missing_panics_doc, reason = "a suite reports by panicking")]

mod damaged;
mod index;
mod jobs;

pub use damaged::DamageRows;

use std::time::Duration;

use futures::future::join_all;
use goldfleet_model::chunk_set::ChunkSet;
use goldfleet_model::event::Event;
use goldfleet_model::ids::JobId;
use goldfleet_model::job::{Job, JobState};
use goldfleet_model::operation::{GroupId, Lease, Operation, OperationId, OperationState};
use goldfleet_model::origin::Origin;
use goldfleet_model::state::{JobEvent, OperationEvent};
use goldfleet_model::system::System;
use goldfleet_model::upload::{Upload, UploadState};
use jiff::Timestamp;
use serde_json::json;
use uuid::Uuid;

use crate::clock::after;
use crate::error::{ErrorKind, PortResult};
use crate::job_table::{Change, JobTable};
use crate::{ETag, Versioned};

const START: Timestamp = Timestamp::UNIX_EPOCH;

/// Runs the suite. `damage` damages rows of the same table.
pub async fn all(table: &dyn JobTable, damage: &dyn DamageRows) {
    table.ensure().await.expect("tables are made");
    table.ensure().await.expect("tables that are there are no error");
    insert_job_rejects_duplicate(table).await;
    jobs::all(table).await;
    commit_job_requires_current_etag(table).await;
    insert_operations_keeps_existing(table).await;
    later_plan_replaces_earlier_plan(table).await;
    largest_chunk_set_round_trips(table).await;
    group_contains_its_rows_only(table).await;
    concurrent_claims_have_one_winner(table).await;
    commit_is_atomic(table).await;
    commit_rejects_two_groups(table).await;
    missing_rows_are_reported(table).await;
    events_are_in_order(table).await;
    operations_list_is_complete(table).await;
    uploads_are_upserted_by_id(table).await;
    newest_upload_of_version_is_found(table).await;
    index::all(table).await;
    damaged::all(table, damage).await;
}

fn job_id() -> JobId {
    format!("suite-{}", Uuid::new_v4().simple()).parse().expect("a job's id")
}

/// A job that was requested `seconds` after the start of the Unix epoch.
fn job(seconds: u64) -> Job {
    let at = after(START, Duration::from_secs(seconds));
    serde_json::from_value(json!({
        "id": job_id(),
        "image": { "name": "ubuntu", "version": "1", "digest": format!("b3:{}", "5".repeat(64)) },
        "payload": { "os": "linux", "generation": "v2", "size": 1, "data_bytes": 1 },
        "selection": ["ring=0", "west*"],
        "operations": 1,
        "state": "requested",
        "created": at,
        "updated": at,
    }))
    .expect("a job")
}

/// The rows of a job in this suite: a row in its own group, and a group of two rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Alone,
    First,
    Second,
}

fn operation(job: &JobId, step: Step, n: u32) -> Operation {
    let (group, name, position) = match step {
        Step::Alone => ("alone", "seed", 0),
        Step::First => ("pair", "copy", 0),
        Step::Second => ("pair", "image", 1),
    };
    let group = GroupId::of(group, &[&n.to_string()]);
    serde_json::from_value(json!({
        "job": job,
        "id": OperationId::new(group, name),
        "plan": 1,
        "image": { "name": "ubuntu", "version": "1", "digest": format!("b3:{}", "5".repeat(64)) },
        "kind": name,
        "position": position,
        "place": { "region": "westeurope", "label": n.to_string() },
        "spec": { "v": 1, "data": { "n": n } },
        "state": if step == Step::Second { "waiting" } else { "ready" },
        "attempts": 0,
        "failures": 0,
        "progress": { "bytes_total": 9, "bytes_done": 0, "bytes_moved": 0 },
        "created": START,
        "updated": START,
    }))
    .expect("an operation")
}

async fn insert(table: &dyn JobTable, operations: &[Operation]) -> Vec<Versioned<Operation>> {
    let added = table.insert_operations(operations).await.expect("operations are inserted");
    assert_eq!(added, operations.len());
    table.operations(&operations[0].job).await.expect("operations are listed")
}

fn claimed(row: &Versioned<Operation>, holder: &str) -> (Change, Event) {
    let mut operation = row.value.clone();
    let lease = Lease { token: Uuid::new_v4(), holder: holder.to_owned(), process: None, expires: START };
    let event = operation.apply(OperationEvent::Claim(lease), START, holder).expect("a claim");
    (Change::new(row, operation), event)
}

fn refused<T: std::fmt::Debug>(result: PortResult<T>, kind: ErrorKind) {
    match result {
        Err(error) if error.kind == kind => {}
        other => panic!("{kind:?} was expected: {other:?}"),
    }
}

/// The second insertion is rejected and changes nothing.
pub async fn insert_job_rejects_duplicate(table: &dyn JobTable) {
    let job = job(1);
    assert_eq!(table.job(&job.id).await.expect("a look"), None);
    table.insert_job(&job).await.expect("a job is inserted");
    let other = Job { state: JobState::Failed, ..job.clone() };
    refused(table.insert_job(&other).await, ErrorKind::AlreadyExists);
    assert_eq!(table.job(&job.id).await.expect("a look").expect("the job").value, job);
}

/// A commit with an old ETag changes no row and appends no event.
pub async fn commit_job_requires_current_etag(table: &dyn JobTable) {
    let mut job = job(1);
    table.insert_job(&job).await.expect("a job is inserted");
    let first = table.job(&job.id).await.expect("a look").expect("the job").etag;
    let event = job.apply(JobEvent::Planned, START, "suite").expect("a transition");
    let second = table.commit_job(&job, &first, std::slice::from_ref(&event)).await.expect("a commit");
    assert_ne!(first, second);
    refused(table.commit_job(&job, &first, std::slice::from_ref(&event)).await, ErrorKind::Conflict);
    let row = table.job(&job.id).await.expect("a look").expect("the job");
    assert_eq!((row.value.state, &row.etag), (JobState::Running, &second));
    assert_eq!(table.events(&job.id, None).await.expect("events"), [event]);
    let missing = Job { id: job_id(), ..job };
    refused(table.commit_job(&missing, &second, &[]).await, ErrorKind::NotFound);
}

/// A repeated insertion adds missing rows and keeps rows that have changed.
pub async fn insert_operations_keeps_existing(table: &dyn JobTable) {
    let job = job_id();
    let all: Vec<Operation> = (0..5).map(|n| operation(&job, Step::First, n)).collect();
    let rows = insert(table, &all[..2]).await;
    let (change, event) = claimed(&rows[0], "a");
    table.commit(std::slice::from_ref(&change), &[event]).await.expect("a commit");
    assert_eq!(table.insert_operations(&all).await.expect("operations are inserted"), 3);
    assert_eq!(table.insert_operations(&all).await.expect("operations are inserted"), 0);
    let rows = table.operations(&job).await.expect("operations are listed");
    assert_eq!(rows.len(), 5);
    assert_eq!(rows[0].value, change.operation);
}

/// A later planning attempt replaces the rows of an earlier one, and an earlier attempt that was paused cannot replace
/// newer rows.
pub async fn later_plan_replaces_earlier_plan(table: &dyn JobTable) {
    let job = job_id();
    let of_plan = |step, n, plan| Operation { plan, ..operation(&job, step, n) };
    insert(table, &[of_plan(Step::Alone, 1, 1), of_plan(Step::First, 1, 1), of_plan(Step::First, 2, 1)]).await;
    let second = [of_plan(Step::First, 1, 2), of_plan(Step::Second, 1, 2)];
    assert_eq!(table.insert_operations(&second).await.expect("rows are replaced"), 2);
    assert_eq!(table.insert_operations(&second).await.expect("rows stay"), 0);
    assert_eq!(table.remove_earlier_plans(&job, 2).await.expect("rows are removed"), 2);
    let plans = async || {
        let rows = table.operations(&job).await.expect("a list");
        rows.into_iter().map(|row| (row.value.id, row.value.plan)).collect::<Vec<_>>()
    };
    let expected: Vec<_> = second.iter().map(|operation| (operation.id.clone(), 2)).collect();
    assert_eq!(plans().await, expected);
    refused(table.insert_operations(&[of_plan(Step::First, 1, 1)]).await, ErrorKind::Conflict);
    assert_eq!(table.remove_earlier_plans(&job, 1).await.expect("nothing is removed"), 0);
    assert_eq!(plans().await, expected);
}

/// The chunk set of a full 4 TiB disk with the pattern that compresses worst.
pub async fn largest_chunk_set_round_trips(table: &dyn JobTable) {
    let job = job_id();
    let rows = insert(table, &[operation(&job, Step::First, 1)]).await;
    let mut done = ChunkSet::empty(ChunkSet::MAX_LEN);
    for chunk in (0..ChunkSet::MAX_LEN).step_by(2) {
        done.insert(chunk);
    }
    let (mut change, event) = claimed(&rows[0], "a");
    change.operation.progress.done = done.clone();
    table.commit(&[change], &[event]).await.expect("a commit");
    let id = &rows[0].value.id;
    assert_eq!(table.operation(&job, id).await.expect("a look").expect("the row").value.progress.done, done);
    assert_eq!(table.group(&job, id).await.expect("a look")[0].value.progress.done, done);
}

/// A group contains no row of another group or another job.
pub async fn group_contains_its_rows_only(table: &dyn JobTable) {
    let (job, other) = (job_id(), job_id());
    let of = |job: &JobId| {
        let kinds = [Step::First, Step::Second, Step::Alone];
        kinds.iter().flat_map(|kind| [1, 2].map(|n| operation(job, *kind, n))).collect::<Vec<_>>()
    };
    insert(table, &of(&job)).await;
    insert(table, &of(&other)).await;
    for (kind, size) in [(Step::First, 2), (Step::Second, 2), (Step::Alone, 1)] {
        let asked = operation(&job, kind, 1);
        let group = table.group(&job, &asked.id).await.expect("a group");
        assert_eq!(group.len(), size, "{kind:?}");
        assert!(group.iter().all(|row| row.value.job == job && row.value.id.group() == asked.id.group()));
        let one = table.operation(&job, &asked.id).await.expect("a look").expect("the row");
        assert!(group.contains(&one));
    }
}

/// Many concurrent claims from the same version.
pub async fn concurrent_claims_have_one_winner(table: &dyn JobTable) {
    let job = job_id();
    let rows = insert(table, &[operation(&job, Step::Alone, 1)]).await;
    let claims: Vec<_> = (0..16).map(|n| claimed(&rows[0], &format!("worker-{n}"))).collect();
    let tries =
        claims.iter().map(|(change, event)| table.commit(std::slice::from_ref(change), std::slice::from_ref(event)));
    let landed: Vec<usize> = join_all(tries)
        .await
        .into_iter()
        .enumerate()
        .filter_map(|(n, result)| match result {
            Ok(_) => Some(n),
            Err(error) => {
                assert_eq!(error.kind, ErrorKind::Conflict, "{error}");
                None
            }
        })
        .collect();
    assert_eq!(landed.len(), 1, "claims that landed: {landed:?}");
    let row = table.operation(&job, &rows[0].value.id).await.expect("a look").expect("the row");
    assert_eq!(row.value, claims[landed[0]].0.operation);
    assert_eq!(table.events(&job, None).await.expect("events"), [claims[landed[0]].1.clone()]);
}

/// If one row has an old ETag, no row and no event is written.
pub async fn commit_is_atomic(table: &dyn JobTable) {
    let job = job_id();
    let mut rows = insert(table, &[operation(&job, Step::First, 1), operation(&job, Step::Second, 1)]).await;
    let unchanged = Change::new(&rows[1], rows[1].value.clone());
    let renewed = table.commit(&[unchanged], &[]).await.expect("a commit").remove(0);
    let stale = std::mem::replace(&mut rows[1].etag, renewed);
    let (copy, claim) = claimed(&rows[0], "a");
    let mut image = rows[1].value.clone();
    let release = image.apply(OperationEvent::Release, START, "a").expect("a transition");
    let stale = Change { if_match: stale, ..Change::new(&rows[1], image.clone()) };
    let result = table.commit(&[copy.clone(), stale], &[claim.clone(), release.clone()]).await;
    refused(result, ErrorKind::Conflict);
    assert_eq!(table.operations(&job).await.expect("operations"), rows);
    assert!(table.events(&job, None).await.expect("events").is_empty());

    let fresh = Change::new(&rows[1], image);
    let etags = table.commit(&[copy, fresh], &[claim, release]).await.expect("a commit");
    let after = table.operations(&job).await.expect("operations");
    assert_eq!(after.iter().map(|row| row.etag.clone()).collect::<Vec<_>>(), etags);
    assert_eq!(after[0].value.state, OperationState::Running);
    assert_eq!(after[1].value.state, OperationState::Ready);
    assert_eq!(table.events(&job, None).await.expect("events").len(), 2);
}

/// Adapters keep a group in one partition, so a commit across groups could not be atomic.
pub async fn commit_rejects_two_groups(table: &dyn JobTable) {
    let job = job_id();
    let rows = insert(table, &[operation(&job, Step::First, 1), operation(&job, Step::First, 2)]).await;
    let (first, event) = claimed(&rows[0], "a");
    let (second, other) = claimed(&rows[1], "a");
    refused(table.commit(&[first.clone(), second], &[event]).await, ErrorKind::Invalid);
    refused(table.commit(&[first], &[other]).await, ErrorKind::Invalid);
    refused(table.commit(&[], &[]).await, ErrorKind::Invalid);
    assert_eq!(table.operations(&job).await.expect("operations"), rows);
}

/// Reads of missing rows return nothing, and changes are rejected.
pub async fn missing_rows_are_reported(table: &dyn JobTable) {
    let job = job_id();
    let missing = operation(&job, Step::First, 1);
    assert_eq!(table.operation(&job, &missing.id).await.expect("a look"), None);
    assert!(table.group(&job, &missing.id).await.expect("a look").is_empty());
    assert!(table.operations(&job).await.expect("a look").is_empty());
    assert!(table.events(&job, None).await.expect("a look").is_empty());
    // An ETag from the adapter itself, because an adapter may reject the form of an invented one.
    let other = insert(table, &[operation(&job_id(), Step::First, 1)]).await.remove(0);
    let change = Change {
        if_match: other.etag,
        ..Change::new(&Versioned { value: missing.clone(), etag: ETag(String::new()) }, missing)
    };
    refused(table.commit(&[change], &[]).await, ErrorKind::NotFound);
}

/// The events of a job or of one operation, oldest first.
pub async fn events_are_in_order(table: &dyn JobTable) {
    let job = job_id();
    let rows = insert(table, &[operation(&job, Step::Alone, 1), operation(&job, Step::Alone, 2)]).await;
    let mut expected = Vec::new();
    for row in &rows {
        let mut row = row.clone();
        for round in 0..3_u64 {
            let at = after(START, Duration::from_secs(round));
            let (mut change, claim) = claimed(&row, "a");
            let defer = change.operation.apply(OperationEvent::Defer(at), at, "a").expect("a transition");
            let etags = table.commit(&[change.clone()], &[claim.clone(), defer.clone()]).await.expect("a commit");
            row = Versioned { value: change.operation, etag: etags[0].clone() };
            expected.extend([claim, defer]);
        }
    }
    assert_eq!(table.events(&job, Some(&rows[0].value.id)).await.expect("events"), expected[..6]);
    assert_eq!(table.events(&job, Some(&rows[1].value.id)).await.expect("events"), expected[6..]);
    assert_eq!(table.events(&job, None).await.expect("events").len(), 12);
}

/// A list that is longer than one page of the service contains each operation once, in the order of their ids.
pub async fn operations_list_is_complete(table: &dyn JobTable) {
    let job = job_id();
    let mut made: Vec<Operation> = (0..1100).map(|n| operation(&job, Step::First, n)).collect();
    let rows = insert(table, &made).await;
    made.sort_by_key(|operation| operation.id.to_string());
    assert_eq!(rows.into_iter().map(|row| row.value).collect::<Vec<_>>(), made);
}

/// A second write replaces the row of an upload.
pub async fn uploads_are_upserted_by_id(table: &dyn JobTable) {
    let mut upload = Upload {
        id: job_id(),
        image: "ubuntu".parse().expect("a name"),
        version: "1".parse().expect("a version"),
        state: UploadState::Running,
        bytes_total: 5,
        bytes_read: 0,
        bytes_data: 0,
        bytes_sent: 0,
        bytes_reused: 0,
        by: Some("alice@build7".to_owned()),
        file: Some("/images/golden.vhd".to_owned()),
        resume: Some("goldfleet upload golden.vhd --image ubuntu --version 1 --os linux".to_owned()),
        origin: Some(Origin {
            source: "disk:d".to_owned(),
            unique_id: Some("u".to_owned()),
            family_id: None,
            temporary: None,
            ..Origin::default()
        }),
        size: Some(64 << 20),
        proven_until: Some(after(START, Duration::from_millis(1500))),
        system: Some(System { name: "Debian \u{fc} \\u{1b}".to_owned(), ..System::default() }),
        digest: None,
        started: START,
        updated: START,
    };
    let read = async |id: &JobId| table.upload(id).await.expect("an upload is read");
    assert_eq!(read(&upload.id).await, None);
    table.put_upload(&upload).await.expect("an upload is written");
    assert_eq!(read(&upload.id).await.as_ref(), Some(&upload));
    upload.state = UploadState::Complete;
    upload.bytes_read = 5;
    upload.digest = Some(goldfleet_model::hash::digest_of(b"content"));
    table.put_upload(&upload).await.expect("an upload is written");
    assert_eq!(read(&upload.id).await.as_ref(), Some(&upload));
    let later = Upload { id: job_id(), started: after(START, Duration::from_secs(9)), ..upload.clone() };
    table.put_upload(&later).await.expect("an upload is written");
    let ours: Vec<Upload> = table
        .uploads()
        .await
        .expect("uploads are listed")
        .into_iter()
        .filter(|one| one.id == upload.id || one.id == later.id)
        .collect();
    assert_eq!(ours, [later.clone(), upload.clone()]);
}

/// A failed upload that started `seconds` after the start of the Unix epoch.
fn upload(image: &str, version: &str, seconds: u64) -> Upload {
    Upload {
        id: job_id(),
        image: image.parse().expect("a name"),
        version: version.parse().expect("a version"),
        state: UploadState::Failed,
        bytes_total: 0,
        bytes_read: 0,
        bytes_data: 0,
        bytes_sent: 0,
        bytes_reused: 0,
        by: None,
        file: None,
        resume: None,
        origin: None,
        size: None,
        proven_until: None,
        system: None,
        digest: None,
        started: after(START, Duration::from_secs(seconds)),
        updated: START,
    }
}

/// The newest upload of one version, despite later uploads of other versions.
pub async fn newest_upload_of_version_is_found(table: &dyn JobTable) {
    let version = Uuid::new_v4().simple().to_string();
    let newest = async |image: &str| {
        let (image, version) = (image.parse().expect("a name"), version.parse().expect("a version"));
        table.newest_upload(&image, &version).await.expect("a look")
    };
    assert_eq!(newest("ubuntu").await, None);
    let (first, second) = (upload("ubuntu", &version, 1), upload("ubuntu", &version, 2));
    let others = [upload("ubuntu-24", &version, 3), upload("ubuntu", "2", 4), upload("debian", "1", 5)];
    for upload in [&second, &first].into_iter().chain(&others) {
        table.put_upload(upload).await.expect("an upload is written");
    }
    assert_eq!(newest("ubuntu").await, Some(second));
    assert_eq!(newest("ubuntu-24").await, Some(others[0].clone()));
    assert_eq!(newest("debian").await, None);
}
