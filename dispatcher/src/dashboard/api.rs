//! The API of the page: jobs, one job, its changes as a stream, approve, retry and cancel.

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

/// The interval of keep-alive comments on a connection.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(15);

fn job_id(text: &str) -> Result<JobId, ApiError> {
    JobId::from_str(text).map_err(|error| ApiError::new(StatusCode::NOT_FOUND, error.to_string(), ""))
}

fn parse_body<T>(body: Result<T, JsonRejection>) -> Result<T, ApiError> {
    body.map_err(|error| ApiError::new(StatusCode::BAD_REQUEST, error.body_text(), ""))
}

/// `GET /api/jobs`: the newest jobs, newest first, with counts.
///
/// # Errors
/// If the table cannot be reached.
pub async fn jobs(State(dashboard): State<Dashboard>) -> Result<Json<Value>, ApiError> {
    let jobs = dashboard.summaries.all(&dashboard.control).await?;
    Ok(Json(json!({ "jobs": jobs, "may_act": dashboard.guard.allows_acting() })))
}

/// `GET /api/jobs/ID`: a job with all operations, its tree and its throughput.
///
/// # Errors
/// If the job does not exist, or the table cannot be reached.
pub async fn job(State(dashboard): State<Dashboard>, Path(id): Path<String>) -> Result<Response, ApiError> {
    let view = feed::read_view(&dashboard.control, &job_id(&id)?, &mut Default::default()).await?;
    Ok(Json(view).into_response())
}

/// `GET /api/jobs/ID/events`: first the complete job as the event `whole`, then differences as events `change`, and an
/// event `trouble` while the job cannot be read.
///
/// # Errors
/// If the job does not exist, or the table cannot be reached.
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

/// The stream of events of one page.
struct EventStream {
    receiver: watch::Receiver<FeedState>,
    last: Option<FeedState>,
}

impl EventStream {
    /// The next event. None if the feed has ended. A slow page skips intermediate changes.
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

/// The ring to approve. The page names the ring that it shows as waiting, so that no later ring is approved by mistake.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApproveBody {
    ring: u32,
}

/// `POST /api/jobs/ID/approve`: approves the next ring.
///
/// # Errors
/// If no ring or another ring waits for approval.
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

/// What to retry. Without fields: everything that failed or was cancelled.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetryBody {
    phase: Option<KindId>,
    targets: Vec<Selector>,
}

/// `POST /api/jobs/ID/retry`: retries what failed or was cancelled.
///
/// # Errors
/// If there is nothing to retry.
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

/// `POST /api/jobs/ID/cancel`: cancels a job at its next checkpoint.
///
/// # Errors
/// If the job has ended.
pub async fn cancel_job(State(dashboard): State<Dashboard>, Path(id): Path<String>) -> Result<Json<Value>, ApiError> {
    let id = job_id(&id)?;
    let counts = cancel(&dashboard.control, &id).await?;
    if counts.stopping == 0 {
        reconcile_job_by_id(&dashboard.control, &id).await?;
    }
    tracing::info!(job = %id, "cancelled at the dashboard");
    Ok(Json(json!({ "operations": counts })))
}
