//! An HTTP server with limits: the number of connections, the time until a request is complete, and the time that a
//! client may let a response wait. Clients that send or read nothing cannot use up the descriptors and the memory of
//! the process.

mod connections;
mod stall;

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::header::CONNECTION;
use axum::http::{HeaderValue, Request, Response, StatusCode};
use axum::response::IntoResponse as _;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tower::ServiceExt as _;

use connections::{Connection, Connections, InUse};
use stall::StallGuard;

/// The largest size of the buffers of a connection in bytes, which is also the largest head of a request.
const MAX_BUFFER: usize = 64 << 10;

/// The pause after a connection could not be accepted, for example because the process has too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// The limits of a server.
#[derive(Debug, Clone, Copy)]
pub struct ListenerLimits {
    /// The largest number of connections. A further connection replaces the oldest one without a request, and is
    /// refused if all have one.
    pub connections: usize,
    /// How long a connection may wait for the complete head of a request, also between two requests.
    pub head: Duration,
    /// How long it may take until a response begins. This includes the arrival of the request's body.
    pub response: Duration,
    /// How long a client may accept no byte of a response.
    pub stall: Duration,
}

impl Default for ListenerLimits {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { connections: 256, head: seconds(10), response: seconds(30), stall: seconds(10) }
    }
}

/// Answers requests until it is dropped.
pub async fn serve_bounded(listener: TcpListener, router: Router, limits: ListenerLimits) -> Infallible {
    let connections = Arc::new(Connections::default());
    let mut tasks = JoinSet::new();
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) if is_of_one_client(&error) => continue,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        while tasks.try_join_next().is_some() {}
        if let Some(connection) = connections.admit(limits.connections) {
            let task = tasks.spawn(serve_connection(stream, router.clone(), limits, connection.clone()));
            connection.set_task(task);
        }
    }
}

/// Whether an error of accepting concerns only the client that has gone.
fn is_of_one_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

async fn serve_connection(stream: TcpStream, router: Router, limits: ListenerLimits, connection: Connection) {
    let answer = service_fn(|request: Request<Incoming>| {
        let (router, in_use) = (router.clone(), connection.begin_request());
        async move {
            let response = router.oneshot(request.map(Body::new));
            let response = match tokio::time::timeout(limits.response, response).await {
                Ok(Ok(response)) => response,
                Err(_) => took_too_long(),
            };
            Ok::<_, Infallible>(response.map(|body| InUse::new(body, in_use)))
        }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_buf_size(MAX_BUFFER)
        .serve_connection(TokioIo::new(StallGuard::new(stream, limits.stall)), answer);
    if let Err(error) = served.await {
        tracing::debug!(%error, "a connection ended");
    }
}

fn took_too_long() -> Response<Body> {
    let mut response = (StatusCode::REQUEST_TIMEOUT, "the request took too long").into_response();
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

#[cfg(test)]
mod tests;
