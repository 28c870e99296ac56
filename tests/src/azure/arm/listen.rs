//! Connections: TLS, faults around a request, and resets.

use std::net;
use std::os::fd::AsFd as _;
use std::sync::Arc;

use axum::body::to_bytes;
use axum::extract::{Extension, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::{Router, response::IntoResponse as _};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::Core;
use super::faults::Fault;
use super::pipeline;
use super::response::ArmAnswer;

/// The maximum size of a body. Source: Azure, Resource Manager's limits: a request of 4 MB.
const LONGEST_BODY: usize = 4 << 20;

/// Cancelled when a connection must be reset.
#[derive(Clone, Default)]
struct Reset(CancellationToken);

/// Accepts connections until it is stopped.
pub(super) async fn listen(listener: TcpListener, tls: Arc<ServerConfig>, core: Arc<Core>, stop: CancellationToken) {
    let acceptor = TlsAcceptor::from(tls);
    let router = Router::new().fallback(handle).with_state(core);
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        // An error of one connection is no reason to stop.
        let Ok((stream, _)) = accepted else { continue };
        let (acceptor, router, stop) = (acceptor.clone(), router.clone(), stop.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = serve(stream, &acceptor, router) => {}
            }
        });
    }
}

async fn serve(stream: TcpStream, acceptor: &TlsAcceptor, router: Router) {
    let second = stream.as_fd().try_clone_to_owned().map(net::TcpStream::from);
    let Ok(stream) = acceptor.accept(stream).await else { return };
    let reset = Reset::default();
    let service = TowerToHyperService::new(router.layer(Extension(reset.clone())));
    let builder = auto::Builder::new(TokioExecutor::new());
    tokio::select! {
        // A client that disconnects, or does not use HTTP, affects only its own connection.
        _ = builder.serve_connection(TokioIo::new(stream), service) => {}
        () = reset.0.cancelled() => {
            // Without lingering, closing the connection sends a reset, as a failing gateway does.
            if let Ok(Ok(second)) = second.map(TcpStream::from_std) {
                let _ = second.set_zero_linger();
            }
        }
    }
}

async fn handle(State(core): State<Arc<Core>>, Extension(reset): Extension<Reset>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
    let resource_type = pipeline::counted_as(parts.uri.path());
    let count = format!("{} {resource_type}", parts.method);
    core.world.write(|world| *world.log.requests.entry(count).or_default() += 1);
    let Ok(body) = to_bytes(body, LONGEST_BODY).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let fault = core.faults.take(parts.method.as_str(), resource_type, &path);
    let is_served = fault.is_none();
    let answer = match fault {
        None => pipeline::answer(&core, &parts, body).await,
        Some(Fault::Delay(delay)) => {
            tokio::time::sleep(delay).await;
            pipeline::answer(&core, &parts, body).await
        }
        Some(Fault::Status(status, retry_after)) => failed(status, retry_after),
        Some(Fault::StatusAfterEffect(status)) => {
            pipeline::answer(&core, &parts, body).await;
            failed(status, None)
        }
        Some(Fault::ResetBeforeEffect) => reset.now().await,
        Some(Fault::ResetAfterEffect) => {
            pipeline::answer(&core, &parts, body).await;
            reset.now().await
        }
    };
    core.world.write(|world| {
        *world.log.answers.entry(answer.status.as_u16()).or_default() += 1;
        if is_served && matches!(answer.status.as_u16(), 400 | 405 | 415) {
            let path = parts.uri.path();
            world.log.violations.push(format!("{} {path}: {}", parts.method, answer.status.as_u16()));
        }
    });
    answer.response(parts.headers.get("x-ms-correlation-request-id"))
}

impl Reset {
    /// Resets the connection. The response is never sent.
    async fn now(&self) -> ArmAnswer {
        self.0.cancel();
        std::future::pending().await
    }
}

/// The response of a fault.
fn failed(status: u16, retry_after: Option<u64>) -> ArmAnswer {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let (code, message) = match status {
        StatusCode::TOO_MANY_REQUESTS => ("TooManyRequests", "The request is being throttled. Please try again later."),
        StatusCode::SERVICE_UNAVAILABLE => ("ServerTimeout", "The request timed out. Please try again."),
        StatusCode::GATEWAY_TIMEOUT => ("GatewayTimeout", "The gateway did not receive a response in time."),
        _ => ("InternalServerError", "Encountered internal server error. Please try again later."),
    };
    let answer = ArmAnswer::error(status, code, message);
    match retry_after {
        Some(seconds) => answer.header("retry-after", seconds.to_string()),
        None => answer,
    }
}
