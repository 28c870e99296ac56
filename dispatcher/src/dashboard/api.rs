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
use goldfleet_model::operation::KindId;
use goldfleet_model::selector::Selector;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::error::ApiError;
use super::feed::FeedState;
use super::{Dashboard, feed};
use crate::control::approve::approve;
use crate::control::cancel::cancel;
use crate::control::reconcile::reconcile_job_by_id;
use crate::control::retry::{RetryFilter, retry};

/// How often a connection says that it is still there.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(15);

fn job_id(text: &str) -> Result<JobId, ApiError> {
    JobId::from_str(text).map_err(|error| ApiError::new(StatusCode::NOT_FOUND, error.to_string(), ""))
}

fn parse_body<T>(body: Result<T, JsonRejection>) -> Result<T, ApiError> {
    body.map_err(|error| ApiError::new(StatusCode::BAD_REQUEST, error.body_text(), ""))
}

/// `GET /api/jobs`: every job, newest first, with counts.
///
/// # Errors
/// Where the table can't be reached.
pub async fn jobs(State(dashboard): State<Dashboard>) -> Result<Json<Value>, ApiError> {
    let jobs = dashboard.summaries.all(&dashboard.control).await?;
    Ok(Json(json!({ "jobs": jobs, "may_act": dashboard.guard.allows_acting() })))
}

/// `GET /api/jobs/ID`: a job with every operation, its tree and its throughput.
///
/// # Errors
/// Where there is no such job, or the table can't be reached.
pub async fn job(State(dashboard): State<Dashboard>, Path(id): Path<String>) -> Result<Response, ApiError> {
    let view = feed::read_view(&dashboard.control, &job_id(&id)?, &mut Default::default()).await?;
    Ok(Json(view).into_response())
}

/// `GET /api/jobs/ID/events`: first the whole job as the event `whole`, then what changes as events `change`; `failed_reads`
/// while it can't be read.
///
/// # Errors
/// Where there is no such job, or the table can't be reached.
pub async fn events(
    State(dashboard): State<Dashboard>,
    Path(id): Path<String>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, ApiError> {
    let receiver = dashboard.watching.subscribe(&dashboard.control, &job_id(&id)?).await?;
    let stream = futures::stream::unfold(EventStream { receiver, last: None }, async |mut told| {
        let event = told.next_event().await?;
        Some((Ok(event), told))
    });
    Ok(Sse::new(stream).keep_alive(KeepAlive::new().interval(KEEP_ALIVE_INTERVAL)))
}

/// What one page has been told.
struct EventStream {
    receiver: watch::Receiver<FeedState>,
    last: Option<FeedState>,
}

impl EventStream {
    /// The next thing to tell; none when the reader is gone. A page that is slow misses what has changed again since.
    async fn next_event(&mut self) -> Option<Event> {
        loop {
            if self.last.is_some() {
                self.receiver.changed().await.ok()?;
            }
            let seen = self.receiver.borrow_and_update().clone();
            let last = self.last.replace(seen.clone());
            let (name, data) = match (last, &seen.failed_reads) {
                (None, _) => ("whole", seen.view.to_json()),
                (Some(_), Some(trouble)) => ("trouble", json!({ "error": trouble.as_ref() })),
                (Some(last), None) => match seen.view.diff(&last.view) {
                    Some(change) => ("change", change),
                    None if last.failed_reads.is_some() => ("change", json!({})),
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
pub struct ApproveBody {
    ring: u32,
}

/// `POST /api/jobs/ID/approve`: lets the next ring begin.
///
/// # Errors
/// Where no ring waits for that, or another one does.
pub async fn approve_job(
    State(dashboard): State<Dashboard>,
    Path(id): Path<String>,
    body: Result<Json<ApproveBody>, JsonRejection>,
) -> Result<Json<Value>, ApiError> {
    let Json(ApproveBody { ring }) = parse_body(body)?;
    let id = job_id(&id)?;
    let approved = approve(&dashboard.control, &id, Some(ring), &dashboard.control.actor).await?;
    tracing::info!(job = %id, ring, "approved at the dashboard");
    Ok(Json(json!({ "approval": approved.approval, "new": approved.new })))
}

/// What is to be tried again; all that failed or was cancelled, where nothing is said.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetryBody {
    phase: Option<KindId>,
    targets: Vec<Selector>,
}

/// `POST /api/jobs/ID/retry`: tries again what failed or was cancelled.
///
/// # Errors
/// Where nothing is to be tried again.
pub async fn retry_job(
    State(dashboard): State<Dashboard>,
    Path(id): Path<String>,
    body: Result<Json<RetryBody>, JsonRejection>,
) -> Result<Json<Value>, ApiError> {
    let Json(again) = parse_body(body)?;
    let which = RetryFilter { phase: again.phase, targets: again.targets };
    let id = job_id(&id)?;
    let count = retry(&dashboard.control, &id, &which).await?;
    tracing::info!(job = %id, operations = count, "retried at the dashboard");
    Ok(Json(json!({ "operations": count })))
}

/// `POST /api/jobs/ID/cancel`: stops a job at its next checkpoint.
///
/// # Errors
/// Where it has ended.
pub async fn cancel_job(State(dashboard): State<Dashboard>, Path(id): Path<String>) -> Result<Json<Value>, ApiError> {
    let id = job_id(&id)?;
    let counts = cancel(&dashboard.control, &id).await?;
    if counts.stopping == 0 {
        reconcile_job_by_id(&dashboard.control, &id).await?;
    }
    tracing::info!(job = %id, "cancelled at the dashboard");
    Ok(Json(json!({ "operations": counts })))
}
