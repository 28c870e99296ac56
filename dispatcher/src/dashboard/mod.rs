//! `goldfleet dashboard`: a web page that shows running jobs. With a token, jobs can be changed.
//!
//! - [`access`]: who may read, and who may change jobs.
//! - [`api`]: the API of the page; [`error`]: its error responses; [`assets`]: the files of the page.
//! - [`stream`]: the events of one page.
//! - [`feed`], [`view`], [`throughput`], [`summaries`]: from rows to the views of the page, read once for all pages.

pub mod access;
pub mod api;
pub mod assets;
pub mod error;
pub mod feed;
pub mod stream;
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
use goldfleet_runtime::listener::{ListenerLimits, serve_bounded};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::control::context::ControlContext;
use access::{AccessError, AccessGuard, enforce_access};
use error::ApiError;
use feed::JobFeeds;
use stream::StreamSlots;
use summaries::SummaryCache;

/// The maximum size of a request body in bytes. The largest body is a list of targets.
const BODY: usize = 256 * 1024;

/// The address of a dashboard, and who may use it.
#[derive(Debug, Clone)]
pub struct Options {
    /// The address to listen on.
    pub listen: SocketAddr,
    /// The file with the token that allows changes.
    pub token_file: Option<PathBuf>,
    /// Host names, besides the address, that requests may use.
    pub hosts: Vec<String>,
}

/// Why the dashboard cannot run.
#[derive(Debug, thiserror::Error)]
pub enum DashboardError {
    /// Access control is not possible.
    #[error(transparent)]
    Guard(#[from] AccessError),
    /// The address cannot be listened on.
    #[error("cannot listen at {address}: {source}; --listen names another address")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The cause.
        source: io::Error,
    },
}

/// A dashboard: the state that its responses are made from.
#[derive(Clone)]
pub struct Dashboard {
    control: ControlContext,
    guard: AccessGuard,
    watching: JobFeeds,
    summaries: SummaryCache,
    streams: StreamSlots,
}

impl Dashboard {
    /// A dashboard over a control context.
    #[must_use]
    pub fn new(control: ControlContext, guard: AccessGuard) -> Self {
        Self {
            control,
            guard,
            watching: JobFeeds::default(),
            summaries: SummaryCache::default(),
            streams: StreamSlots::default(),
        }
    }

    /// The router that answers requests.
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

/// Serves the dashboard until `stop` is cancelled. Calls `begun` with the address.
///
/// # Errors
/// [`DashboardError`] if access control is not possible, or if the address cannot be listened on.
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
        never = serve_bounded(listener, router, ListenerLimits::default()) => match never {},
        // Do not wait for connected pages. They reconnect by themselves.
        () = stop.cancelled() => Ok(()),
    }
}
