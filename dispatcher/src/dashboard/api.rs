//! What the page asks: jobs, one job, its changes as they happen, and to try again or stop.

use std::convert::Infallible;
use std::str::FromStr as _;
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::Stream;
use goldfleet_model::ids::JobId;
use goldfleet_model::operation::Kind;
use goldfleet_model::selector::Selector;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::feed::Seen;
use super::refusal::Refusal;
use super::{Dashboard, feed};
use crate::control::approve::approve;
use crate::control::cancel::cancel;
use crate::control::retry::{Which, retry};
use crate::control::sweep::look_after;

/// How often a connection says that it is still there.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Who approves from the page: whoever has the token, whose name nobody knows.
const BY: &str = "the dashboard";

fn job_id(text: &str) -> Result<JobId, Refusal> {
    JobId::from_str(text).map_err(|error| Refusal::new(StatusCode::NOT_FOUND, error.to_string(), ""))
}

fn understood<T>(body: Result<T, JsonRejection>) -> Result<T, Refusal> {
    body.map_err(|error| Refusal::new(StatusCode::BAD_REQUEST, error.body_text(), ""))
}

/// `GET /api/jobs`: every job, newest first, with counts.
///
/// # Errors
/// Where the table can't be reached.
pub async fn jobs(State(dashboard): State<Dashboard>) -> Result<Json<Value>, Refusal> {
    let jobs = dashboard.summaries.all(&dashboard.desk).await?;
    Ok(Json(json!({ "jobs": jobs, "may_act": dashboard.guard.allows_acting() })))
}

/// `GET /api/jobs/ID`: a job with every operation, its tree and its throughput.
///
/// # Errors
/// Where there is no such job, or the table can't be reached.
pub async fn job(State(dashboard): State<Dashboard>, Path(id): Path<String>) -> Result<Response, Refusal> {
    let view = feed::look(&dashboard.desk, &job_id(&id)?, &mut Default::default()).await?;
    Ok(Json(view).into_response())
}

/// `GET /api/jobs/ID/events`: first the whole job as the event `whole`, then what changes as events `change`; `trouble`
/// while it can't be read.
///
/// # Errors
/// Where there is no such job, or the table can't be reached.
pub async fn events(
    State(dashboard): State<Dashboard>,
    Path(id): Path<String>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Refusal> {
    let receiver = dashboard.watching.join(&dashboard.desk, &job_id(&id)?).await?;
    let stream = futures::stream::unfold(Told { receiver, last: None }, async |mut told| {
        let event = told.next().await?;
        Some((Ok(event), told))
    });
    Ok(Sse::new(stream).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

/// What one page has been told.
struct Told {
    receiver: watch::Receiver<Seen>,
    last: Option<Seen>,
}

impl Told {
    /// The next thing to tell; none when the reader is gone. A page that is slow misses what has changed again since.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if self.last.is_some() {
                self.receiver.changed().await.ok()?;
            }
            let seen = self.receiver.borrow_and_update().clone();
            let last = self.last.replace(seen.clone());
            let (name, data) = match (last, &seen.trouble) {
                (None, _) => ("whole", seen.view.whole()),
                (Some(_), Some(trouble)) => ("trouble", json!({ "error": trouble.as_ref() })),
                (Some(last), None) => match seen.view.since(&last.view) {
                    Some(change) => ("change", change),
                    None if last.trouble.is_some() => ("change", json!({})),
                    None => continue,
                },
            };
            return Some(Event::default().event(name).data(data.to_string()));
        }
    }
}

/// Which ring is to begin. The page names the one that it shows as waiting, so that no later one is meant by mistake.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpNext {
    ring: u32,
}

/// `POST /api/jobs/ID/approve`: lets the next ring begin.
///
/// # Errors
/// Where no ring waits for that, or another one does.
pub async fn approve_job(
    State(dashboard): State<Dashboard>,
    Path(id): Path<String>,
    body: Result<Json<UpNext>, JsonRejection>,
) -> Result<Json<Value>, Refusal> {
    let Json(UpNext { ring }) = understood(body)?;
    let id = job_id(&id)?;
    let approved = approve(&dashboard.desk, &id, Some(ring), BY).await?;
    tracing::info!(job = %id, ring, "approved, asked for at the dashboard");
    Ok(Json(json!({ "approval": approved.approval, "new": approved.new })))
}

/// What is to be tried again; all that failed or was cancelled, where nothing is said.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Again {
    phase: Option<Kind>,
    targets: Vec<Selector>,
}

/// `POST /api/jobs/ID/retry`: tries again what failed or was cancelled.
///
/// # Errors
/// Where nothing is to be tried again.
pub async fn retry_job(
    State(dashboard): State<Dashboard>,
    Path(id): Path<String>,
    body: Result<Json<Again>, JsonRejection>,
) -> Result<Json<Value>, Refusal> {
    let Json(again) = understood(body)?;
    let which = Which { phase: again.phase, targets: again.targets };
    let id = job_id(&id)?;
    let count = retry(&dashboard.desk, &id, &which).await?;
    tracing::info!(job = %id, operations = count, "tried again, asked for at the dashboard");
    Ok(Json(json!({ "operations": count })))
}

/// `POST /api/jobs/ID/cancel`: stops a job at its next checkpoint.
///
/// # Errors
/// Where it has ended.
pub async fn cancel_job(State(dashboard): State<Dashboard>, Path(id): Path<String>) -> Result<Json<Value>, Refusal> {
    let id = job_id(&id)?;
    let counts = cancel(&dashboard.desk, &id).await?;
    if counts.stopping == 0 {
        look_after(&dashboard.desk, &id).await?;
    }
    tracing::info!(job = %id, "cancelled, asked for at the dashboard");
    Ok(Json(json!({ "operations": counts })))
}
