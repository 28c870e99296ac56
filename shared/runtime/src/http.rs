//! The HTTP endpoint for monitoring (`/health`, `/ready`, `/metrics`) and a client for `/health`.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::health::Monitor;
use crate::listener::{ListenerLimits, serve_bounded};

/// The timeout of a response.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Monitoring needs few connections.
const LIMITS: ListenerLimits = ListenerLimits {
    connections: 64,
    head: Duration::from_secs(10),
    response: Duration::from_secs(10),
    stall: Duration::from_secs(10),
};

/// The content type of OpenMetrics text.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A server that runs until it is dropped.
pub struct HttpListener {
    /// The address on which it listens.
    pub address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for HttpListener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Starts a server on `address`.
///
/// # Errors
/// If the address cannot be used.
pub async fn serve(address: SocketAddr, monitor: Monitor) -> io::Result<HttpListener> {
    let listener = TcpListener::bind(address).await?;
    let address = listener.local_addr()?;
    let task = tokio::spawn(async move { match serve_bounded(listener, routes(monitor), LIMITS).await {} });
    tracing::info!(%address, "serves health and metrics");
    Ok(HttpListener { address, task })
}

fn routes(monitor: Monitor) -> Router {
    Router::new()
        .route(
            "/health",
            get(async |State(monitor): State<Monitor>| respond(monitor.health.is_alive(), "turns", "stuck")),
        )
        .route(
            "/ready",
            get(async |State(monitor): State<Monitor>| respond(monitor.health.is_ready(), "ready", "not ready")),
        )
        .route("/metrics", get(metrics))
        .with_state(monitor)
}

fn respond(good: bool, yes: &'static str, no: &'static str) -> (StatusCode, &'static str) {
    if good { (StatusCode::OK, yes) } else { (StatusCode::SERVICE_UNAVAILABLE, no) }
}

async fn metrics(State(monitor): State<Monitor>) -> impl IntoResponse {
    ([(CONTENT_TYPE, OPEN_METRICS)], monitor.metrics.encode())
}

/// Checks the liveness of the process that listens on `address` of this machine. It uses few resources, because a
/// container runs it every few seconds.
///
/// # Errors
/// If the process does not answer, or if it is not alive.
pub fn query_health(address: SocketAddr) -> io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&loopback_address(address), RESPONSE_TIMEOUT)?;
    stream.set_read_timeout(Some(RESPONSE_TIMEOUT))?;
    stream.set_write_timeout(Some(RESPONSE_TIMEOUT))?;
    stream.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(16 * 1024).read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    let status = answer.lines().next().unwrap_or("nothing");
    if status.starts_with("HTTP/1.1 200") { Ok(()) } else { Err(io::Error::other(format!("it answers {status:?}"))) }
}

/// The address at which a server on this machine can be reached if it listens on `address`: loopback for an unspecified
/// address.
fn loopback_address(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

#[cfg(test)]
mod tests {

    use super::*;

    const ANY_PORT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

    async fn get(address: SocketAddr, path: &str) -> String {
        let path = path.to_owned();
        let asked = tokio::task::spawn_blocking(move || -> io::Result<String> {
            let mut stream = TcpStream::connect(loopback_address(address))?;
            write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        });
        asked.await.unwrap().unwrap()
    }

    async fn asked(address: SocketAddr) -> Result<(), String> {
        tokio::task::spawn_blocking(move || query_health(address).map_err(|error| error.to_string())).await.unwrap()
    }

    #[tokio::test]
    async fn health_endpoint_reports_state() {
        let monitor = Monitor::default();
        let listening = serve(ANY_PORT, monitor.clone()).await.unwrap();
        let address = listening.address;
        assert!(get(address, "/ready").await.starts_with("HTTP/1.1 503"));
        monitor.health.coordination_reached();
        assert!(get(address, "/ready").await.starts_with("HTTP/1.1 200"));
        assert_eq!(asked(address).await, Ok(()));
        monitor.metrics.bytes_moved("copy", 512);
        let metrics = get(address, "/metrics").await;
        assert!(metrics.contains("goldfleet_moved_bytes_total{kind=\"copy\"} 512"), "{metrics}");
        assert!(metrics.contains("goldfleet_build_info{version="), "{metrics}");
        monitor.health.set_draining();
        assert!(get(address, "/ready").await.starts_with("HTTP/1.1 503"));
        assert!(get(address, "/health").await.starts_with("HTTP/1.1 200"));
        drop(listening);
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(asked(address).await.is_err());
    }
}
