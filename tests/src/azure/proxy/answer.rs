//! Answers of the proxy's own, in the form that Azure Storage gives them.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Response, StatusCode};
use jiff::Timestamp;
use uuid::Uuid;

use super::request::ProxyRequest;

pub(super) type BoxError = Box<dyn std::error::Error + Send + Sync>;
pub(super) type Body = UnsyncBoxBody<Bytes, BoxError>;
pub(super) type Answer = Response<Body>;

/// A body of nothing.
pub(super) fn nothing() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// An error of the service, as Azure words it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) code: String,
    pub(super) message: String,
    pub(super) retry_after: Option<Duration>,
    /// What the source answered that the service was to read: its status and its code.
    pub(super) source: Option<(StatusCode, String)>,
}

/// Why there is no answer of the operation.
pub(super) type Refused<T> = Result<T, Refusal>;

impl Refusal {
    pub(super) fn new(status: StatusCode, code: &str, message: impl Into<String>) -> Self {
        Self { status, code: code.to_owned(), message: message.into(), retry_after: None, source: None }
    }

    /// A header that has no value of the right form.
    pub(super) fn invalid_header(name: &str) -> Self {
        let message = format!("The value for one of the HTTP headers is not in the correct format: {name}.");
        Self::new(StatusCode::BAD_REQUEST, "InvalidHeaderValue", message)
    }

    /// A header that is not there.
    pub(super) fn missing_header(name: &str) -> Self {
        let message = format!("An HTTP header that's mandatory for this request is not specified: {name}.");
        Self::new(StatusCode::BAD_REQUEST, "MissingRequiredHeader", message)
    }

    /// A body, or a range, that is longer than the operation takes.
    pub(super) fn too_large() -> Self {
        let message = "The request body is too large and exceeds the maximum permissible limit.";
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "RequestBodyTooLarge", message)
    }

    /// A fault between the proxy and the emulator, which no test wants: its code is none of Azure's.
    pub(super) fn proxy(error: &(dyn std::error::Error + 'static)) -> Self {
        let causes: Vec<_> =
            std::iter::successors(Some(error), |error| error.source()).map(ToString::to_string).collect();
        Self::new(StatusCode::BAD_GATEWAY, "ProxyFailed", causes.join(": "))
    }

    /// The answer to a request.
    pub(super) fn answer(&self, asked: &ProxyRequest) -> Answer {
        let id = Uuid::new_v4().to_string();
        let text = format!(
            "<?xml version=\"1.0\" encoding=\"utf-8\"?><Error><Code>{}</Code><Message>{}\nRequestId:{id}\n\
             Time:{}</Message></Error>",
            escape(&self.code),
            escape(&self.message),
            Timestamp::now(),
        );
        let head = asked.head.method == Method::HEAD;
        let body = if head { nothing() } else { Full::from(text).map_err(|never| match never {}).boxed_unsync() };
        let mut answer = Response::new(body);
        *answer.status_mut() = self.status;
        let headers = answer.headers_mut();
        if !head {
            put(headers, "content-type", "application/xml");
        }
        put(headers, "x-ms-error-code", &self.code);
        put(headers, "x-ms-request-id", &id);
        stamp(headers, asked);
        // Source: Azure Storage, status and error codes, copy API error response.
        if let Some((status, code)) = &self.source {
            put(headers, "x-ms-copy-source-status-code", status.as_str());
            put(headers, "x-ms-copy-source-error-code", code);
        }
        if let Some(wait) = self.retry_after {
            put(headers, "retry-after", &wait.as_secs().to_string());
        }
        answer
    }
}

/// What all answers carry of their requests.
pub(super) fn stamp(headers: &mut HeaderMap, asked: &ProxyRequest) {
    put(headers, "x-ms-version", asked.header("x-ms-version").unwrap_or("2025-05-05"));
    if let Some(id) = asked.header("x-ms-client-request-id") {
        put(headers, "x-ms-client-request-id", id);
    }
}

/// Sets a header; text that no header may hold is left out.
pub(super) fn put(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(HeaderName::from_static(name), value);
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
