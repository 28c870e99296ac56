//! The API of the page: jobs, one job, its changes as a stream, approve, retry and cancel.

use std::str::FromStr as _;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use goldfleet_model::ids::JobId;
use goldfleet_model::operation::KindId;
use goldfleet_model::selector::Selector;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Dashboard;
use super::error::ApiError;
use super::stream::event_stream;
use crate::control::approve::approve;
use crate::control::cancel::cancel;
use crate::control::reconcile::reconcile_job_by_id;
use crate::control::retry::{RetryFilter, retry};

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
    let jobs = dashboard.summaries.all(&dashboard.control.jobs).await?;
    Ok(Json(json!({ "jobs": jobs, "may_act": dashboard.guard.allows_acting() })))
}

/// `GET /api/jobs/ID`: a job with all operations, its tree and its throughput.
///
/// # Errors
/// If the job does not exist, or the table cannot be reached.
pub async fn job(State(dashboard): State<Dashboard>, Path(id): Path<String>) -> Result<Response, ApiError> {
    let view = dashboard.watching.read_once(&dashboard.control.jobs, &job_id(&id)?).await?;
    Ok(Json(view).into_response())
}

/// `GET /api/jobs/ID/events`: the changes of a job, see [`event_stream`].
///
/// # Errors
/// If the job does not exist, the table cannot be reached, or too many pages are open.
pub async fn events(State(dashboard): State<Dashboard>, Path(id): Path<String>) -> Result<Response, ApiError> {
    let Some(slot) = dashboard.streams.take() else {
        let hint = "close some of them, and reload";
        return Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "too many pages show jobs now", hint));
    };
    let receiver = dashboard.watching.subscribe(&dashboard.control, &job_id(&id)?).await?;
    Ok(event_stream(receiver, slot))
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
    let approved = approve(&dashboard.control.jobs, &id, Some(ring), &dashboard.control.jobs.actor).await?;
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
    let counts = cancel(&dashboard.control.jobs, &id).await?;
    if counts.stopping == 0 {
        reconcile_job_by_id(&dashboard.control, &id).await?;
    }
    tracing::info!(job = %id, "cancelled at the dashboard");
    Ok(Json(json!({ "operations": counts })))
}
