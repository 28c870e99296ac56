use std::net::SocketAddr;
use std::time::Instant;

use axum::body::Bytes;
use axum::routing::{get, post};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;

/// Serves `router` with limits of milliseconds.
async fn serve(router: Router, limits: ListenerLimits) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { match serve_bounded(listener, router, limits).await {} });
    address
}

fn limits(connections: usize) -> ListenerLimits {
    let millis = Duration::from_millis;
    ListenerLimits { connections, head: millis(300), response: millis(300), stall: millis(300) }
}

async fn connect(address: SocketAddr, sent: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(sent.as_bytes()).await.unwrap();
    stream
}

/// What the server sends until it closes the connection.
async fn rest(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    // The server may reset a connection that it ends.
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

fn hello() -> Router {
    Router::new().route("/", get(async || "hello"))
}

const REQUEST: &str = "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

/// The number of files that this process may open.
fn file_limit() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap_or_default();
    line.split_whitespace().nth(3).and_then(|soft| soft.parse().ok()).unwrap_or(1024)
}

#[tokio::test]
async fn clients_that_send_half_a_request_do_not_delay_others() {
    let address = serve(hello(), ListenerLimits { head: Duration::from_secs(60), ..limits(32) }).await;
    let mut half_open = Vec::new();
    // Both ends of each connection are in this process.
    let count = if file_limit() > 5000 { 2000 } else { 400 };
    for _ in 0..count {
        half_open.push(connect(address, "GET / HTTP/1.1\r\nHo").await);
    }
    let begun = Instant::now();
    let answer = rest(connect(address, REQUEST).await).await;
    assert!(answer.ends_with("hello"), "{answer}");
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?} with {count} connections", begun.elapsed());
}

#[tokio::test]
async fn a_connection_without_a_complete_request_ends() {
    let address = serve(hello(), limits(32)).await;
    for sent in ["", "GET / HTTP/1.1\r\nHo", "GET / HTTP/1.1\r\nHost: x\r\n\r\n"] {
        let begun = Instant::now();
        let _ = rest(connect(address, sent).await).await;
        assert!(begun.elapsed() >= Duration::from_millis(250), "{sent:?} ended after {:?}", begun.elapsed());
    }
}

#[tokio::test]
async fn a_body_that_does_not_arrive_ends_its_request() {
    let router = Router::new().route("/", post(async |body: Bytes| body.len().to_string()));
    let address = serve(router, limits(32)).await;
    let answer = rest(connect(address, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf").await).await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
}

#[tokio::test]
async fn a_client_that_reads_nothing_is_cut_off() {
    let endless =
        || Body::from_stream(futures::stream::repeat(Ok::<_, Infallible>(Bytes::from_static(&[b'x'; 65536]))));
    let address = serve(Router::new().route("/", get(async move || endless())), limits(1)).await;
    let stream = connect(address, REQUEST).await;
    // The only connection has a request. Another one is refused until the first is cut off.
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(rest(connect(address, REQUEST).await).await, "");
    tokio::time::sleep(Duration::from_millis(900)).await;
    let mut second = connect(address, REQUEST).await;
    let mut begin = [0; 12];
    second.read_exact(&mut begin).await.unwrap();
    assert_eq!(&begin, b"HTTP/1.1 200");
    drop(stream);
}
