//! Rows that cannot be read do not affect others.

use async_trait::async_trait;
use goldfleet_model::graph::GateCondition;
use serde_json::Value;

use super::*;
use crate::listing::{ROW_DAMAGED, RowName, UnreadableRow};

/// Damages rows of the table under test by its own means, as another program or a later release would.
#[async_trait]
pub trait DamageRows: Sync {
    /// Replaces the JSON of a row that exists. If it has a `state`, the adapter's own copy of the state is replaced
    /// too.
    async fn replace_body(&self, row: &RowName, body: &str);
}

pub(super) async fn all(table: &dyn JobTable, damage: &dyn DamageRows) {
    unreadable_jobs_are_set_aside(table, damage).await;
    unreadable_operations_are_set_aside(table, damage).await;
    unreadable_uploads_are_set_aside(table, damage).await;
}

/// A row in an unknown state, without a field, and with another type of content.
fn bodies(row: &impl serde::Serialize) -> [String; 3] {
    let row = serde_json::to_value(row).expect("JSON");
    let (mut state, mut field) = (row.clone(), row);
    state["state"] = Value::from("dreaming");
    field.as_object_mut().expect("an object").remove("updated");
    [state.to_string(), field.to_string(), "[]".to_owned()]
}

fn json(row: &impl serde::Serialize) -> String {
    serde_json::to_string(row).expect("JSON")
}

fn is_named(row: &UnreadableRow, id: &str) {
    assert_eq!(row.id, id);
    assert!(row.key.contains(id) && !row.reason.is_empty(), "{row:?}");
}

fn is_damaged<T: std::fmt::Debug>(result: PortResult<T>) {
    let error = result.expect_err("a damaged row");
    assert_eq!((error.kind, error.code.as_str()), (ErrorKind::Invalid, ROW_DAMAGED), "{error}");
}

async fn unreadable_jobs_are_set_aside(table: &dyn JobTable, damage: &dyn DamageRows) {
    let run = format!("zz{}", Timestamp::now().as_millisecond());
    let named = |n: u64| Job { id: format!("{run}-{n}").parse().expect("an id"), state: JobState::Running, ..job(n) };
    let (bad, good) = (named(1), [named(2), named(0)]);
    for job in good.iter().chain([&bad]) {
        table.insert_job(job).await.expect("a job is inserted");
    }
    let name = RowName::Job(bad.id.clone());
    for body in bodies(&bad) {
        damage.replace_body(&name, &body).await;
        let lists = [
            table.list_jobs().await.expect("jobs are listed"),
            table.list_newest_jobs(3).await.expect("jobs are listed"),
            table.list_open_jobs().await.expect("jobs are listed"),
        ];
        for list in lists {
            let ours = list.rows.iter().map(|row| &row.value).filter(|job| job.id.as_str().starts_with(&run));
            assert!(ours.eq(good.iter()), "{body}");
            is_named(&list.unreadable[0], bad.id.as_str());
            assert_eq!(list.unreadable.len(), 1, "{body}");
        }
        assert_eq!(table.list_newest_jobs(1).await.expect("jobs are listed").rows.len(), 1);
        is_damaged(table.jobs().await);
        is_damaged(table.open_jobs().await);
        is_damaged(table.job(&bad.id).await);
    }
    // It can be removed nevertheless.
    damage.replace_body(&name, &json(&bad)).await;
    let etag = table.job(&bad.id).await.expect("a look").expect("the job").etag;
    table.remove_job(&bad.id, &etag).await.expect("a removal");
    assert!(table.list_jobs().await.expect("jobs are listed").unreadable.is_empty());
}

async fn unreadable_operations_are_set_aside(table: &dyn JobTable, damage: &dyn DamageRows) {
    let job = job_id();
    let [bad, sibling] = [Step::First, Step::Second].map(|step| operation(&job, step, 1));
    let others = [operation(&job, Step::Alone, 1), operation(&job, Step::First, 2)];
    let rows = insert(table, &[bad.clone(), sibling.clone(), others[0].clone(), others[1].clone()]).await;
    let name = RowName::Operation(job.clone(), bad.id.clone());
    let gate = "ring.1".parse().expect("a gate");
    for body in bodies(&bad).into_iter().chain(["{\"id\": ".to_owned()]) {
        damage.replace_body(&name, &body).await;
        let list = table.list_operations(&job).await.expect("operations are listed");
        let expected: Vec<_> = rows.iter().filter(|row| row.value.id != bad.id).collect();
        assert!(list.rows.iter().eq(expected), "{body}");
        let group = table.list_group(&job, &bad.id).await.expect("a group");
        assert_eq!(group.rows.iter().map(|row| &row.value.id).collect::<Vec<_>>(), [&sibling.id]);
        let scanned = table.unreadable_operations(&job).await.expect("a scan");
        for unreadable in [list.unreadable, group.unreadable, scanned] {
            is_named(&unreadable[0], &bad.id.to_string());
            assert_eq!(unreadable.len(), 1, "{body}");
        }
        is_damaged(table.operations(&job).await);
        is_damaged(table.group(&job, &sibling.id).await);
        is_damaged(table.operation(&job, &bad.id).await);
        table.group(&job, &others[1].id).await.expect("another group");
        table.operation(&job, &sibling.id).await.expect("a look").expect("the row");
        let counted: u64 = table.census(&job, 1).await.expect("a census").iter().map(|count| count.count).sum();
        assert!((3..=4).contains(&counted), "{body}: {counted}");
        table.in_state_before(&job, 1, OperationState::Ready, Timestamp::MAX, 9).await.expect("a list");
        table.awaiting(&job, 1, &gate, GateCondition::Opened).await.expect("a list");
    }
    // Its sibling can be changed, and a new plan replaces it.
    let group = table.list_group(&job, &bad.id).await.expect("a group").rows;
    let sibling = Operation { attempts: 1, ..group[0].value.clone() };
    table.commit(&[Change::new(&group[0], sibling)], &[]).await.expect("a commit");
    table.insert_operations(&[Operation { plan: 2, ..bad.clone() }]).await.expect("an insertion");
    assert!(table.unreadable_operations(&job).await.expect("a scan").is_empty());
    assert_eq!(table.operation(&job, &bad.id).await.expect("a look").expect("the row").value.plan, 2);
}

async fn unreadable_uploads_are_set_aside(table: &dyn JobTable, damage: &dyn DamageRows) {
    let version = Uuid::new_v4().simple().to_string();
    let (good, upload) = (upload("ubuntu", &version, 1), upload("ubuntu", &version, 2));
    for upload in [&good, &upload] {
        table.put_upload(upload).await.expect("an upload is written");
    }
    let [state, field, _] = bodies(&upload);
    for body in [state, field] {
        damage.replace_body(&RowName::Upload(upload.id.clone()), &body).await;
        let list = table.list_uploads().await.expect("uploads are listed");
        assert!(list.rows.contains(&good));
        is_named(&list.unreadable[0], upload.id.as_str());
        let newest = table.newest_upload(&good.image, &good.version).await.expect("a look");
        assert_eq!(newest.as_ref(), Some(&good));
        is_damaged(table.uploads().await);
        is_damaged(table.upload(&upload.id).await);
    }
    table.put_upload(&upload).await.expect("an upload is written");
    table.uploads().await.expect("uploads are listed");
}
