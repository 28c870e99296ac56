//! The emulator behind the proxy.

use std::sync::Arc;

use anyhow::ensure;
use bytes::Bytes;
use futures::TryStreamExt as _;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use hyper::header::{HeaderMap, HeaderValue};
use hyper::{Method, Response, StatusCode};
use reqwest::Url;

use super::answer::{Answer, BoxError, Refusal, Refused, nothing};
use super::counters::Counters;
use super::request::{ProxyRequest, text};

/// Headers that belong to one connection.
const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "expect",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// The emulator behind the proxy.
pub(super) struct Upstream {
    /// Its scheme and authority.
    pub(super) base: String,
    /// The scheme and authority of the proxy.
    pub(super) own: String,
    client: reqwest::Client,
    counters: Arc<Counters>,
}

impl Upstream {
    pub(super) fn new(
        upstream: &str,
        own: String,
        client: reqwest::Client,
        counters: Arc<Counters>,
    ) -> anyhow::Result<Self> {
        let origin = Url::parse(upstream)?.origin();
        ensure!(origin.is_tuple(), "{upstream} names no service");
        Ok(Self { base: origin.ascii_serialization(), own, client, counters })
    }

    /// Sends a request to the emulator, with path and query unchanged byte for byte.
    pub(super) async fn send(
        &self,
        method: Method,
        target: &str,
        headers: HeaderMap,
        body: Option<reqwest::Body>,
    ) -> Refused<reqwest::Response> {
        let url = exact(&format!("{}{target}", self.base))?;
        let request = self.client.request(method, url).headers(headers);
        let request = if let Some(body) = body { request.body(body) } else { request };
        request.send().await.map_err(|error| Refusal::proxy(&error))
    }

    /// Forwards a request with these headers and this body.
    pub(super) async fn pass(
        &self,
        asked: &ProxyRequest,
        headers: HeaderMap,
        body: Option<reqwest::Body>,
    ) -> Refused<Answer> {
        let response = self.send(asked.head.method.clone(), asked.target(), headers, body).await?;
        Ok(self.relay(asked, response))
    }

    /// Reads a URL, which may be elsewhere.
    pub(super) async fn read(&self, method: Method, url: &str, headers: HeaderMap) -> Refused<reqwest::Response> {
        let url = exact(&self.inward(url))?;
        self.client.request(method, url).headers(headers).send().await.map_err(|error| {
            let message = format!("Could not verify the copy source within the specified time. {error}");
            Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "CannotVerifyCopySource", message)
        })
    }

    /// Replaces the proxy's origin in a URL by the emulator's.
    pub(super) fn inward(&self, url: &str) -> String {
        swap(url, &self.own, &self.base)
    }

    /// Converts the emulator's response to a streaming response for the client.
    pub(super) fn relay(&self, asked: &ProxyRequest, response: reqwest::Response) -> Answer {
        let mut answer = Response::new(nothing());
        *answer.status_mut() = response.status();
        *answer.headers_mut() = end_to_end(response.headers());
        if let Some(source) = text(response.headers(), "x-ms-copy-source").map(|url| swap(url, &self.base, &self.own))
            && let Ok(source) = HeaderValue::from_str(&source)
        {
            answer.headers_mut().insert("x-ms-copy-source", source);
        }
        if asked.head.method != Method::HEAD {
            let (account, counters) = (asked.account().to_owned(), Arc::clone(&self.counters));
            let parts = response.bytes_stream().inspect_ok(move |part: &Bytes| counters.sent(&account, part.len()));
            *answer.body_mut() = StreamBody::new(parts.map_ok(Frame::data).map_err(BoxError::from)).boxed_unsync();
        }
        answer
    }
}

/// The headers without those of the connection.
pub(super) fn end_to_end(headers: &HeaderMap) -> HeaderMap {
    let mut headers = headers.clone();
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
    headers
}

/// Parses a URL that must be sent exactly as written. Signatures cover the written form, so a URL that parsing would
/// change is rejected.
fn exact(url: &str) -> Refused<Url> {
    match Url::parse(url) {
        Ok(parsed) if parsed.as_str() == url => Ok(parsed),
        _ => {
            let message = format!("The proxy can't send this URL byte for byte: {url}");
            Err(Refusal::new(StatusCode::BAD_REQUEST, "ProxyInvalidUri", message))
        }
    }
}

/// Replaces the origin of a URL, if it has this one.
fn swap(url: &str, from: &str, to: &str) -> String {
    match url.strip_prefix(from) {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => format!("{to}{rest}"),
        _ => url.to_owned(),
    }
}
