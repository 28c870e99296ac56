//! `goldfleet dashboard`: one page that shows jobs as they run, and lets those act who have the token.
//!
//! - [`guard`]: who may see it, and who may act.
//! - [`api`]: what the page asks; [`refusal`]: that it can't have it; [`assets`]: the page itself.
//! - [`feed`], [`view`], [`history`], [`summaries`]: from rows to what is shown, read once for everybody who looks.

pub mod api;
pub mod assets;
pub mod feed;
pub mod guard;
pub mod history;
pub mod refusal;
pub mod summaries;
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

use crate::control::desk::Desk;
use feed::Watching;
use guard::{Guard, GuardError, guarded};
use refusal::Refusal;
use summaries::Summaries;

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
    Guard(#[from] GuardError),
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
    desk: Desk,
    guard: Guard,
    watching: Watching,
    summaries: Summaries,
}

impl Dashboard {
    /// A dashboard over a desk.
    #[must_use]
    pub fn new(desk: Desk, guard: Guard) -> Self {
        Self { desk, guard, watching: Watching::default(), summaries: Summaries::default() }
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
            .fallback(async || Refusal::new(StatusCode::NOT_FOUND, "there is no such page", "the page is at /"))
            .layer(DefaultBodyLimit::max(BODY))
            .layer(from_fn_with_state(guard, guarded))
            .with_state(self)
    }
}

/// Serves the dashboard until `stop` is cancelled; `begun` hears where.
///
/// # Errors
/// [`DashboardError`] where it may not, or can't, listen there.
pub async fn serve(
    desk: Desk,
    options: &Options,
    stop: &CancellationToken,
    begun: impl FnOnce(SocketAddr),
) -> Result<(), DashboardError> {
    let guard = Guard::new(options.listen, &options.hosts, options.token_file.as_deref())?;
    let failed = |source| DashboardError::Listen { address: options.listen, source };
    let listener = TcpListener::bind(options.listen).await.map_err(failed)?;
    begun(listener.local_addr().map_err(failed)?);
    let router = Dashboard::new(desk, guard).router();
    tokio::select! {
        served = axum::serve(listener, router) => served.map_err(failed),
        // Pages that look on are not waited for: they come back by themselves.
        () = stop.cancelled() => Ok(()),
    }
}
