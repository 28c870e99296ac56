//! Connections from clients.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::Core;

/// A request without a response: its connection is reset.
#[derive(Debug)]
pub(super) struct Reset;

impl fmt::Display for Reset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a rule resets the connection")
    }
}

impl std::error::Error for Reset {}

/// Accepts connections until the proxy stops.
pub(super) async fn serve(listener: TcpListener, tls: Arc<rustls::ServerConfig>, core: Arc<Core>) {
    let mut tls = (*tls).clone();
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(tls));
    let stop = core.stop.clone();
    let accept = async {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let (acceptor, core, stop) = (acceptor.clone(), Arc::clone(&core), core.stop.clone());
                    tokio::spawn(stop.run_until_cancelled_owned(connection(stream, acceptor, core)));
                }
                // Usually there are no free file descriptors. Wait until some are closed.
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    };
    stop.run_until_cancelled(accept).await;
}

async fn connection(stream: TcpStream, acceptor: TlsAcceptor, core: Arc<Core>) {
    let _ = stream.set_nodelay(true);
    let Ok(stream) = acceptor.accept(stream).await else { return };
    core.counters.connection();
    let service = service_fn(move |request| {
        // A separate task, so that the effect of a request happens even if the client disconnects before the response.
        let stop = core.stop.clone();
        let answer = tokio::spawn(stop.run_until_cancelled_owned(Arc::clone(&core).serve(request)));
        async move { answer.await.ok().flatten().unwrap_or(Err(Reset)) }
    });
    let mut connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    if (&mut connection).await.is_err() {
        // Without this, the client would see an orderly end of the connection.
        let _ = connection.into_parts().io.into_inner().get_ref().0.set_zero_linger();
    }
}
