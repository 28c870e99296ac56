//! A Blob service that takes whatever it is sent, at once, and keeps nothing but the lengths of blobs: what an upload
//! takes where the service is not what holds it up.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::serve::Listener;
use futures::StreamExt as _;
use goldfleet_tests::azure::certificates::Certificates;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// No blobs at all.
const EMPTY_LIST: &str =
    r#"<?xml version="1.0" encoding="utf-8"?><EnumerationResults><Blobs/><NextMarker/></EnumerationResults>"#;

/// The lengths of the blobs that were begun, by path.
type Lengths = Arc<Mutex<HashMap<String, String>>>;

/// Begins to listen. Returns where: `https://127.0.0.1:PORT`.
pub(crate) async fn start(certificates: &Certificates) -> anyhow::Result<String> {
    let tcp = TcpListener::bind(("127.0.0.1", 0)).await?;
    let endpoint = format!("https://{}", tcp.local_addr()?);
    let listener = Tls { tcp, acceptor: TlsAcceptor::from(certificates.server_config()) };
    let service = Router::new().fallback(answer).with_state(Lengths::default());
    tokio::spawn(async move { axum::serve(listener, service).await });
    Ok(endpoint)
}

async fn answer(State(lengths): State<Lengths>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let (path, query) = (head.uri.path().to_owned(), head.uri.query().unwrap_or_default());
    let length = [&header::CONTENT_LENGTH.as_str(), &"x-ms-blob-content-length"].map(|name| text(&head.headers, name));
    let mut body = body.into_data_stream();
    while let Some(Ok(_)) = body.next().await {}
    let common = [(header::ETAG, "\"0x1\""), (header::LAST_MODIFIED, "Sat, 21 Nov 2026 00:00:00 GMT")];
    match head.method {
        Method::PUT => {
            if !query.contains("comp=page")
                && let [Some(own), page] = length
            {
                lengths.lock().unwrap().insert(path, page.unwrap_or(own));
            }
            (StatusCode::CREATED, common).into_response()
        }
        Method::HEAD => match lengths.lock().unwrap().get(&path) {
            Some(length) => (common, [(header::CONTENT_LENGTH, length.clone())]).into_response(),
            None => StatusCode::NOT_FOUND.into_response(),
        },
        _ if query.contains("comp=list") => ([(header::CONTENT_TYPE, "application/xml")], EMPTY_LIST).into_response(),
        _ => (StatusCode::NOT_FOUND, [("x-ms-error-code", "BlobNotFound")]).into_response(),
    }
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    Some(headers.get(name)?.to_str().ok()?.to_owned())
}

struct Tls {
    tcp: TcpListener,
    acceptor: TlsAcceptor,
}

impl Listener for Tls {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, SocketAddr) {
        loop {
            let Ok((stream, address)) = self.tcp.accept().await else { continue };
            // A client that goes away meanwhile is its own affair.
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.tcp.local_addr()
    }
}
