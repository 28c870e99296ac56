//! Lists of jobs: all, the newest, and those that have not ended.

use std::time::Duration;

use futures::future::join_all;
use goldfleet_model::ids::JobId;
use goldfleet_model::job::{Job, JobState};
use goldfleet_model::state::JobEvent;
use jiff::Timestamp;
use tokio::time::timeout;

use super::{START, Step, claimed, insert, job, operation, refused};
use crate::error::{ErrorKind, PortResult};
use crate::job_table::JobTable;

pub(super) async fn all(table: &dyn JobTable) {
    jobs_are_newest_first(table).await;
    newest_jobs_respects_limit(table).await;
    open_jobs_excludes_terminal_jobs(table).await;
    open_jobs_list_is_complete(table).await;
    remove_job_removes_all_rows(table).await;
}

/// No operation and no event remains, even if two calls remove the job at once or one call is interrupted repeatedly.
/// Other jobs keep their rows. A removal with another ETag removes nothing.
async fn remove_job_removes_all_rows(table: &dyn JobTable) {
    let made = [job(1), job(1), job(1)];
    for job in &made {
        table.insert_job(job).await.expect("a job is inserted");
        let operations: Vec<_> = (0..150).map(|n| operation(&job.id, Step::First, n)).collect();
        for row in insert(table, &operations).await.iter().take(3) {
            let (change, event) = claimed(row, "someone");
            table.commit(&[change], &[event]).await.expect("a claim lands");
        }
        let row = table.job(&job.id).await.expect("a look").expect("a job");
        let mut planned = row.value;
        let event = planned.apply(JobEvent::Planned, START, "someone").expect("a plan");
        table.commit_job(&planned, &row.etag, &[event]).await.expect("a job is changed");
        refused(table.remove_job(&job.id, &row.etag).await, ErrorKind::Conflict);
        assert_eq!(table.operations(&job.id).await.expect("a list").len(), 150);
    }
    let [twice, piecemeal, kept] = made.map(|job| job.id);
    let row = table.job(&twice).await.expect("a look").expect("a job");
    for removed in join_all([(); 2].map(|()| table.remove_job(&twice, &row.etag))).await {
        removed.expect("a removal");
    }
    let row = table.job(&piecemeal).await.expect("a look").expect("a job");
    let mut wait = Duration::from_millis(1);
    while timeout(wait, table.remove_job(&piecemeal, &row.etag))
        .await
        .map(|removed| removed.expect("a removal"))
        .is_err()
    {
        wait *= 2;
    }
    for gone in [twice, piecemeal] {
        table.remove_job(&gone, &row.etag).await.expect("a removal of nothing");
        assert_eq!(table.job(&gone).await.expect("a look"), None);
        assert_eq!(table.operations(&gone).await.expect("a list"), []);
        assert_eq!(table.events(&gone, None).await.expect("events are listed"), []);
    }
    assert_eq!(table.operations(&kept).await.expect("a list").len(), 150);
    assert_eq!(table.events(&kept, None).await.expect("events are listed").len(), 4);
}

/// The order is that of the creation times.
async fn jobs_are_newest_first(table: &dyn JobTable) {
    let made = [job(20), job(30), job(10)];
    for job in &made {
        table.insert_job(job).await.expect("a job is inserted");
    }
    let all = table.jobs().await.expect("jobs are listed");
    let ours: Vec<&JobId> =
        all.iter().map(|job| &job.value.id).filter(|id| made.iter().any(|job| job.id == **id)).collect();
    assert_eq!(ours, [&made[1].id, &made[0].id, &made[2].id]);
}

/// The jobs are chosen by their ids, which begin with the time in the format of [`JobId::new`], and sorted by the
/// creation times in their rows.
async fn newest_jobs_respects_limit(table: &dyn JobTable) {
    assert_eq!(table.list_newest_jobs(0).await.expect("no job is listed").rows, []);
    // Ids that sort after those of all other jobs of the suite and of its earlier runs.
    let run = format!("z{}", Timestamp::now().as_millisecond());
    let made: Vec<Job> = (0..5).map(|n| Job { id: format!("{run}-{n}").parse().expect("an id"), ..job(n) }).collect();
    for job in &made {
        table.insert_job(job).await.expect("a job is inserted");
    }
    for count in [1, 3] {
        let newest = table.list_newest_jobs(count).await.expect("jobs are listed").rows;
        let expected: Vec<Job> = made.iter().rev().take(count).cloned().collect();
        assert_eq!(newest.iter().map(|row| row.value.clone()).collect::<Vec<_>>(), expected);
        for row in &newest {
            assert_eq!(table.job(&row.value.id).await.expect("a look").as_ref(), Some(row));
        }
    }
    let all = table.jobs().await.expect("jobs are listed");
    assert_eq!(table.list_newest_jobs(all.len() + 7).await.expect("jobs are listed").rows, all);
}

/// A job that is retried is in the list again.
async fn open_jobs_excludes_terminal_jobs(table: &dyn JobTable) {
    let mut jobs: Vec<Job> = JobState::ALL.iter().zip(1..).map(|(state, n)| Job { state: *state, ..job(n) }).collect();
    for job in &jobs {
        table.insert_job(job).await.expect("a job is inserted");
    }
    let open = async |jobs: &[Job]| {
        let open = table.open_jobs().await.expect("open jobs are listed");
        let ours = open.into_iter().map(|row| row.value).filter(|open| jobs.iter().any(|job| job.id == open.id));
        ours.collect::<Vec<Job>>()
    };
    assert_eq!(open(&jobs).await, [jobs[2].clone(), jobs[1].clone(), jobs[0].clone()]);

    let events = [(1, JobEvent::Succeed), (2, JobEvent::ConfirmCancel), (4, JobEvent::Retry), (5, JobEvent::Retry)];
    for (n, event) in events {
        let row = table.job(&jobs[n].id).await.expect("a look").expect("the job");
        let event = jobs[n].apply(event, START, "suite").expect("a transition");
        table.commit_job(&jobs[n], &row.etag, &[event]).await.expect("a commit");
    }
    assert_eq!(open(&jobs).await, [jobs[5].clone(), jobs[4].clone(), jobs[0].clone()]);
    // The ETag of a listed row is valid for a commit.
    let listed = table.open_jobs().await.expect("open jobs are listed");
    for mut row in listed.into_iter().filter(|row| jobs.iter().any(|job| job.id == row.value.id)) {
        row.value.state = JobState::Cancelled;
        table.commit_job(&row.value, &row.etag, &[]).await.expect("a commit");
    }
    assert_eq!(open(&jobs).await, []);
}

/// The list is longer than one page of the service, and jobs that have ended lie between the open jobs.
async fn open_jobs_list_is_complete(table: &dyn JobTable) {
    let ends = |n: u64| n.is_multiple_of(11);
    let jobs: Vec<Job> = (0..1200)
        .map(|n| Job { state: if ends(n) { JobState::Succeeded } else { JobState::Running }, ..job(n) })
        .collect();
    for some in jobs.chunks(32) {
        let inserted = join_all(some.iter().map(|job| table.insert_job(job))).await;
        inserted.into_iter().collect::<PortResult<()>>().expect("jobs are inserted");
    }
    let open = table.open_jobs().await.expect("open jobs are listed");
    let ours = open.into_iter().map(|row| row.value).filter(|open| jobs.iter().any(|job| job.id == open.id));
    let expected = jobs.iter().filter(|job| !job.state.is_terminal()).rev();
    assert_eq!(ours.collect::<Vec<Job>>(), expected.cloned().collect::<Vec<Job>>());
}
