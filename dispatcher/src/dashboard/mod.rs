//! `goldfleet dashboard`: one page that shows jobs as they run, and lets those act who have the token.
//!
//! - [`access`]: who may see it, and who may act.
//! - [`api`]: what the page asks; [`error`]: that it can't have it; [`assets`]: the page itself.
//! - [`feed`], [`view`], [`throughput`], [`summaries`]: from rows to what is shown, read once for everybody who looks.

pub mod access;
pub mod api;
pub mod assets;
pub mod error;
pub mod feed;
pub mod summaries;
pub mod throughput;
pub mod view;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::control::context::ControlContext;
use access::{AccessError, AccessGuard, enforce_access};
use error::ApiError;
use feed::JobFeeds;
use summaries::SummaryCache;

/// The most that a request's body may hold: a list of targets.
const BODY: usize = 256 * 1024;

/// Where a dashboard listens, and who may use it.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where it listens.
    pub listen: SocketAddr,
    /// The file with the token of those who may act.
    pub token_file: Option<PathBuf>,
    /// Names besides its address that it is asked by.
    pub hosts: Vec<String>,
}

/// Why there is no dashboard.
#[derive(Debug, thiserror::Error)]
pub enum DashboardError {
    /// Nobody could be kept out.
    #[error(transparent)]
    Guard(#[from] AccessError),
    /// The address is not to be had.
    #[error("can't listen at {address}: {source}; --listen names another address")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
}

/// A dashboard: what its answers are made from.
#[derive(Clone)]
pub struct Dashboard {
    control: ControlContext,
    guard: AccessGuard,
    watching: JobFeeds,
    summaries: SummaryCache,
}

impl Dashboard {
    /// A dashboard over a control context.
    #[must_use]
    pub fn new(control: ControlContext, guard: AccessGuard) -> Self {
        Self { control, guard, watching: JobFeeds::default(), summaries: SummaryCache::default() }
    }

    /// What answers requests.
    pub fn router(self) -> Router {
        let guard = self.guard.clone();
        Router::new()
            .route("/api/jobs", get(api::jobs))
            .route("/api/jobs/{id}", get(api::job))
            .route("/api/jobs/{id}/events", get(api::events))
            .route("/api/jobs/{id}/approve", post(api::approve_job))
            .route("/api/jobs/{id}/retry", post(api::retry_job))
            .route("/api/jobs/{id}/cancel", post(api::cancel_job))
            .merge(assets::routes())
            .fallback(async || ApiError::new(StatusCode::NOT_FOUND, "there is no such page", "the page is at /"))
            .layer(DefaultBodyLimit::max(BODY))
            .layer(from_fn_with_state(guard, enforce_access))
            .with_state(self)
    }
}

/// Serves the dashboard until `stop` is cancelled; `begun` hears where.
///
/// # Errors
/// [`DashboardError`] where it may not, or can't, listen there.
pub async fn serve(
    control: ControlContext,
    options: &Options,
    stop: &CancellationToken,
    begun: impl FnOnce(SocketAddr),
) -> Result<(), DashboardError> {
    let guard = AccessGuard::new(options.listen, &options.hosts, options.token_file.as_deref())?;
    let failed = |source| DashboardError::Listen { address: options.listen, source };
    let listener = TcpListener::bind(options.listen).await.map_err(failed)?;
    begun(listener.local_addr().map_err(failed)?);
    let router = Dashboard::new(control, guard).router();
    tokio::select! {
        served = axum::serve(listener, router) => served.map_err(failed),
        // Pages that look on are not waited for: they come back by themselves.
        () = stop.cancelled() => Ok(()),
    }
}
