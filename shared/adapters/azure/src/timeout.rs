//! Timeouts of requests: a request may take long while its bytes move, but not without any response.
//!
//! The HTTP client's own timeout is not suitable. It counts from the start of the request and ignores how many bytes
//! must be sent, so a chunk on a slow line would time out and be sent again forever. Here the time limit before a
//! response begins grows with the number of bytes that must move first. TCP detects a dead line with unacknowledged
//! bytes.

use std::time::Duration;

use async_trait::async_trait;
use azure_core::error::ErrorKind;
use azure_core::http::headers::{HeaderName, Headers};
use azure_core::http::{AsyncRawResponse, HttpClient, Request};
use azure_core::{Error, Result};
use futures::StreamExt as _;
use goldfleet_ports::timeout::TimeoutPolicy;
use tokio::time::timeout;

use crate::error::cap_retry_after;

/// In requests with this header the service reads a source of at most one chunk.
const COPY_SOURCE: HeaderName = HeaderName::from_static("x-ms-copy-source");

/// The largest document of a service in bytes. Pages of lists have a few MiB.
const MAX_DOCUMENT: usize = 64 << 20;

/// An HTTP client with timeouts. The inner client needs no timeouts except for connecting.
#[derive(Debug)]
pub struct TimeoutClient<C> {
    client: C,
    timeouts: TimeoutPolicy,
}

impl<C> TimeoutClient<C> {
    /// Creates a client that sends requests through `client`.
    pub fn new(client: C, timeouts: TimeoutPolicy) -> Self {
        Self { client, timeouts }
    }
}

#[async_trait]
impl<C: HttpClient> HttpClient for TimeoutClient<C> {
    async fn execute_request(&self, request: &Request) -> Result<AsyncRawResponse> {
        let from_source = request.headers().get_optional_str(&COPY_SOURCE).is_some();
        let within = self.timeouts.response_timeout(request.body().len().unwrap_or(0), from_source);
        let answer = timeout(within, self.client.execute_request(request)).await;
        let (status, mut headers, body) = answer.map_err(|_| idle_timeout_error(within))??.deconstruct();
        cap_retry_after(&mut headers, self.timeouts.max_retry_after);
        let silence = self.timeouts.idle;
        let most = if is_document(&headers) { MAX_DOCUMENT } else { usize::MAX };
        let body = futures::stream::unfold(Some((body, 0)), move |read| async move {
            let (mut body, length) = read?;
            match timeout(silence, body.next()).await {
                Ok(Some(Ok(part))) if part.len() > most - length => Some((Err(too_long_error()), None)),
                Ok(Some(Ok(part))) => {
                    let length = length + part.len();
                    Some((Ok(part), Some((body, length))))
                }
                Ok(part) => part.map(|part| (part, Some((body, length)))),
                Err(_) => Some((Err(idle_timeout_error(silence)), None)),
            }
        });
        Ok(AsyncRawResponse::new(status, headers, Box::pin(body)))
    }
}

/// Whether a response is a document of the service, and not the content of a blob.
fn is_document(headers: &Headers) -> bool {
    let media_type = headers.get_optional_str(&HeaderName::from_static("content-type")).unwrap_or_default();
    media_type.starts_with("application/json") || media_type.starts_with("application/xml")
}

fn too_long_error() -> Error {
    Error::with_message(ErrorKind::Io, format!("the response has more than {} MiB", MAX_DOCUMENT >> 20))
}

fn idle_timeout_error(within: Duration) -> Error {
    Error::with_message(ErrorKind::Io, format!("it said nothing for {} s", within.as_secs_f64()))
}

#[cfg(test)]
mod tests {
    use azure_core::Bytes;
    use azure_core::http::{Method, StatusCode, Url};

    use super::*;

    /// Responds after this many seconds, with two parts that are this many seconds apart.
    #[derive(Debug)]
    struct Slow(u64, u64);

    #[async_trait]
    impl HttpClient for Slow {
        async fn execute_request(&self, _: &Request) -> Result<AsyncRawResponse> {
            tokio::time::sleep(Duration::from_secs(self.0)).await;
            let between = Duration::from_secs(self.1);
            let parts = futures::stream::iter(["one", "two"]).then(move |part| async move {
                tokio::time::sleep(between).await;
                Ok(Bytes::from_static(part.as_bytes()))
            });
            Ok(AsyncRawResponse::new(StatusCode::Ok, Headers::new(), Box::pin(parts)))
        }
    }

    async fn send(slow: Slow, body: usize, from_source: bool) -> Result<Bytes> {
        let mut request = Request::new(Url::parse("https://account.example/c/b").unwrap(), Method::Put);
        request.set_body(vec![0; body]);
        if from_source {
            request.insert_header(COPY_SOURCE, "https://other.example/c/b");
        }
        let answer = TimeoutClient::new(slow, TimeoutPolicy::default()).execute_request(&request).await?;
        answer.into_body().collect().await
    }

    #[tokio::test(start_paused = true)]
    async fn response_timeout_grows_with_body() {
        // A chunk over a line of 50 KiB/s takes 82 s; eight of them at once, 11 minutes.
        for (seconds, body, from_source, comes) in [
            (59, 0, false, true),
            (61, 0, false, false),
            (82, 4 << 20, false, true),
            (656, 4 << 20, false, true),
            (1085, 4 << 20, false, false),
            (123, 0, true, true),
            (125, 0, true, false),
        ] {
            let answer = send(Slow(seconds, 0), body, from_source).await;
            assert_eq!(answer.is_ok(), comes, "{seconds} s for {body} bytes: {answer:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn idle_timeout_allows_slow_responses() {
        assert_eq!(send(Slow(1, 59), 0, false).await.unwrap(), "onetwo");
        let error = send(Slow(1, 61), 0, false).await.unwrap_err();
        assert_eq!((error.kind(), error.to_string().as_str()), (&ErrorKind::Io, "it said nothing for 60 s"));
    }

    /// Responds with mebibytes of this type without end.
    #[derive(Debug)]
    struct Endless(&'static str);

    #[async_trait]
    impl HttpClient for Endless {
        async fn execute_request(&self, _: &Request) -> Result<AsyncRawResponse> {
            let mut headers = Headers::new();
            headers.insert("content-type", self.0);
            let parts = futures::stream::repeat_with(|| Ok(Bytes::from_static(&[b' '; 1 << 20])));
            Ok(AsyncRawResponse::new(StatusCode::Ok, headers, Box::pin(parts)))
        }
    }

    #[tokio::test]
    async fn documents_have_a_limit_and_contents_have_none() {
        for (media_type, expected) in [("application/json; charset=utf-8", 64), ("application/octet-stream", 100)] {
            let client = TimeoutClient::new(Endless(media_type), TimeoutPolicy::default());
            let request = Request::new(Url::parse("https://one.example/list").unwrap(), Method::Get);
            let body = client.execute_request(&request).await.unwrap().into_body();
            let whole = body.take(100).filter(|part| std::future::ready(part.is_ok())).count().await;
            assert_eq!(whole, expected, "{media_type}");
        }
    }

    /// Asks for a wait with this header.
    #[derive(Debug)]
    struct Busy(&'static str, &'static str);

    #[async_trait]
    impl HttpClient for Busy {
        async fn execute_request(&self, _: &Request) -> Result<AsyncRawResponse> {
            let mut headers = Headers::new();
            headers.insert(self.0, self.1);
            Ok(AsyncRawResponse::from_bytes(StatusCode::TooManyRequests, headers, Bytes::new()))
        }
    }

    #[tokio::test]
    async fn requested_wait_is_capped() {
        for (name, value, expected) in [
            ("retry-after", "7", 7),
            ("retry-after", "600", 600),
            ("retry-after", "99999999999", 600),
            ("retry-after", "Fri, 31 Dec 9999 23:59:59 GMT", 600),
            ("retry-after-ms", "7000", 7),
            ("x-ms-retry-after-ms", "99999999999", 600),
        ] {
            let client = TimeoutClient::new(Busy(name, value), TimeoutPolicy::default());
            let request = Request::new(Url::parse("https://one.example/c/b").unwrap(), Method::Put);
            let answer = client.execute_request(&request).await.unwrap();
            let wait = crate::error::retry_after(answer.headers());
            assert_eq!(wait, Some(Duration::from_secs(expected)), "{name}: {value}");
        }
    }
}
