//! The conformance suite of records. Each test uses its own names, so runs do not affect each other.
#![expect(clippy::expect_used, clippy::missing_panics_doc, reason = "a suite reports by panicking")]

use futures::future::join_all;
use goldfleet_model::document::Document;
use serde_json::json;
use uuid::Uuid;

use crate::error::{ErrorKind, PortResult};
use crate::job_table::JobTable;
use crate::records::{MAX_LENGTH, RecordName, Records};

/// Runs the suite. `table` and `records` share one table.
pub async fn all(table: &dyn JobTable, records: &dyn Records) {
    table.ensure().await.expect("tables are created");
    fleet_is_the_same_for_all_callers(table).await;
    record_is_created_once(records).await;
    record_is_replaced_only_in_the_version_that_was_read(records).await;
    concurrent_changes_have_one_winner(records).await;
    removed_record_can_be_created_again(records).await;
    largest_record_round_trips(records).await;
    list_contains_the_records_of_a_prefix(records).await;
}

fn name(text: &str) -> RecordName {
    format!("s.{}.{text}", Uuid::new_v4().simple()).parse().expect("a name")
}

fn document(n: usize) -> Document {
    Document { v: 1, data: json!({ "n": n, "text": "ä\u{1f600} \\ \"", "list": [null, true, -1] }) }
}

/// A document whose JSON has this length.
fn of_length(length: usize, filler: &str) -> Document {
    let empty = Document { v: 1, data: json!("") };
    let spent = serde_json::to_string(&empty).expect("JSON").len();
    let whole = filler.repeat((length - spent) / filler.len());
    let text = format!("{whole}{}", "x".repeat(length - spent - whole.len()));
    Document { v: 1, data: json!(text) }
}

fn refused<T: std::fmt::Debug>(result: PortResult<T>, kind: ErrorKind) {
    match result {
        Err(error) if error.kind == kind => {}
        other => panic!("{kind:?} was expected: {other:?}"),
    }
}

/// The fleet id is created once, also if several processes ask for it first at the same time.
pub async fn fleet_is_the_same_for_all_callers(table: &dyn JobTable) {
    let asked = join_all((0..8).map(|_| table.fleet())).await;
    let ids: Vec<Uuid> = asked.into_iter().map(|id| id.expect("a fleet id")).collect();
    assert!(!ids[0].is_nil());
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    table.ensure().await.expect("existing tables are no error");
    assert_eq!(table.fleet().await.expect("a fleet id"), ids[0]);
}

/// A second creation is rejected and changes nothing.
pub async fn record_is_created_once(records: &dyn Records) {
    let name = name("once");
    assert_eq!(records.get(&name).await.expect("a look"), None);
    let created = join_all((0..8).map(|n| {
        let (document, name) = (document(n), &name);
        async move { records.put(name, &document, None).await.map(|etag| (document, etag)) }
    }))
    .await;
    let mut winner = None;
    for result in created {
        match result {
            Ok(created) => assert!(winner.replace(created).is_none(), "two creations"),
            Err(error) => assert_eq!(error.kind, ErrorKind::AlreadyExists, "{error}"),
        }
    }
    let (document, etag) = winner.expect("a creation");
    let read = records.get(&name).await.expect("a look").expect("the record");
    assert_eq!((read.value, read.etag), (document, etag));
}

/// A change needs the ETag of the present version.
pub async fn record_is_replaced_only_in_the_version_that_was_read(records: &dyn Records) {
    let (name, other) = (name("versions"), name("other"));
    let first = records.put(&name, &document(1), None).await.expect("a creation");
    let second = records.put(&name, &document(2), Some(&first)).await.expect("a change");
    assert_ne!(first, second);
    refused(records.put(&name, &document(3), Some(&first)).await, ErrorKind::Conflict);
    refused(records.remove(&name, &first).await, ErrorKind::Conflict);
    let read = records.get(&name).await.expect("a look").expect("the record");
    assert_eq!((read.value, read.etag.clone()), (document(2), second.clone()));
    // A record is not created with the ETag of another one.
    refused(records.put(&other, &document(1), Some(&second)).await, ErrorKind::NotFound);
    assert_eq!(records.get(&other).await.expect("a look"), None);
    // The same content is a new version.
    let third = records.put(&name, &document(2), Some(&second)).await.expect("a change");
    assert_ne!(second, third);
}

/// Many changes from the same version.
pub async fn concurrent_changes_have_one_winner(records: &dyn Records) {
    let name = name("race");
    let etag = records.put(&name, &document(0), None).await.expect("a creation");
    let changes = join_all((1..=16).map(|n| {
        let (document, name, etag) = (document(n), &name, &etag);
        async move { records.put(name, &document, Some(etag)).await.map(|etag| (document, etag)) }
    }))
    .await;
    let mut winner = None;
    for result in changes {
        match result {
            Ok(changed) => assert!(winner.replace(changed).is_none(), "two changes of one version"),
            Err(error) => assert_eq!(error.kind, ErrorKind::Conflict, "{error}"),
        }
    }
    let (document, etag) = winner.expect("a change");
    let read = records.get(&name).await.expect("a look").expect("the record");
    assert_eq!((read.value, read.etag), (document, etag));
}

/// A process that still has an ETag of the removed record cannot change the new one.
pub async fn removed_record_can_be_created_again(records: &dyn Records) {
    let name = name("again");
    let first = records.put(&name, &document(1), None).await.expect("a creation");
    records.remove(&name, &first).await.expect("a removal");
    assert_eq!(records.get(&name).await.expect("a look"), None);
    records.remove(&name, &first).await.expect("a removal of nothing");
    refused(records.put(&name, &document(2), Some(&first)).await, ErrorKind::NotFound);
    let again = records.put(&name, &document(3), None).await.expect("a creation");
    assert_ne!(first, again);
    refused(records.put(&name, &document(4), Some(&first)).await, ErrorKind::Conflict);
    refused(records.remove(&name, &first).await, ErrorKind::Conflict);
    assert_eq!(records.get(&name).await.expect("a look").expect("the record").value, document(3));
}

/// The limit counts bytes of JSON, in any alphabet. A shorter value replaces a longer one completely.
pub async fn largest_record_round_trips(records: &dyn Records) {
    for filler in ["x", "ä", "\u{1f600}"] {
        let name = name("large");
        let largest = of_length(MAX_LENGTH, filler);
        assert_eq!(serde_json::to_string(&largest).expect("JSON").len(), MAX_LENGTH);
        let etag = records.put(&name, &largest, None).await.expect("a creation");
        assert!(records.get(&name).await.expect("a look").expect("the record").value == largest);
        let error = records.put(&name, &of_length(MAX_LENGTH + 1, filler), Some(&etag)).await.expect_err("too large");
        assert_eq!((error.kind, error.code.as_str()), (ErrorKind::Invalid, "record-too-large"));
        let etag = records.put(&name, &document(1), Some(&etag)).await.expect("a change");
        assert_eq!(records.get(&name).await.expect("a look").expect("the record").value, document(1));
        records.put(&name, &largest, Some(&etag)).await.expect("a change");
        assert!(records.get(&name).await.expect("a look").expect("the record").value == largest);
    }
}

/// The list is longer than one page of the service, in the order of the names. Similar names are not in it.
pub async fn list_contains_the_records_of_a_prefix(records: &dyn Records) {
    let prefix = name("list").to_string();
    assert_eq!(records.list(&prefix).await.expect("a list"), []);
    let mut made = Vec::new();
    let inside: Vec<usize> = (0..1100).collect();
    for some in inside.chunks(50) {
        let put = some.iter().map(|n| {
            let name: RecordName = format!("{prefix}.{n}-z").parse().expect("a name");
            async move { records.put(&name, &document(*n), None).await.map(|etag| (name, *n, etag)) }
        });
        made.extend(join_all(put).await.into_iter().map(|made| made.expect("a creation")));
    }
    for near in [prefix.clone(), format!("{prefix}-z"), format!("{prefix}0"), format!("{prefix}z.1")] {
        records.put(&near.parse().expect("a name"), &document(0), None).await.expect("a creation");
    }
    made.sort();
    let listed = records.list(&format!("{prefix}.")).await.expect("a list");
    assert_eq!(listed.len(), made.len());
    for (record, (name, n, etag)) in listed.iter().zip(&made) {
        assert_eq!((&record.name, &record.document.etag), (name, etag));
        assert_eq!(record.document.value, document(*n));
    }
    assert_eq!(records.list(&prefix).await.expect("a list").len(), made.len() + 4);
    assert!(records.list("").await.expect("a list").len() >= made.len() + 4);
    refused(records.list("s'").await, ErrorKind::Invalid);
}
