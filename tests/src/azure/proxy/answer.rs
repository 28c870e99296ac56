//! Responses that the proxy creates, in the format of Azure Storage.

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

/// An empty body.
pub(super) fn nothing() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// An error of the service, in Azure's wording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) code: String,
    pub(super) message: String,
    pub(super) retry_after: Option<Duration>,
    /// The status and the code with which the source answered the service.
    pub(super) source: Option<(StatusCode, String)>,
}

/// A result of an operation, or the error response.
pub(super) type Refused<T> = Result<T, Refusal>;

impl Refusal {
    pub(super) fn new(status: StatusCode, code: &str, message: impl Into<String>) -> Self {
        Self { status, code: code.to_owned(), message: message.into(), retry_after: None, source: None }
    }

    /// The error for a header with an invalid value.
    pub(super) fn invalid_header(name: &str) -> Self {
        let message = format!("The value for one of the HTTP headers is not in the correct format: {name}.");
        Self::new(StatusCode::BAD_REQUEST, "InvalidHeaderValue", message)
    }

    /// The error for a missing header.
    pub(super) fn missing_header(name: &str) -> Self {
        let message = format!("An HTTP header that's mandatory for this request is not specified: {name}.");
        Self::new(StatusCode::BAD_REQUEST, "MissingRequiredHeader", message)
    }

    /// The error for a body or a range that is longer than the operation allows.
    pub(super) fn too_large() -> Self {
        let message = "The request body is too large and exceeds the maximum permissible limit.";
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "RequestBodyTooLarge", message)
    }

    /// An error between the proxy and the emulator, which no test expects. Azure has no such code.
    pub(super) fn proxy(error: &(dyn std::error::Error + 'static)) -> Self {
        let causes: Vec<_> =
            std::iter::successors(Some(error), |error| error.source()).map(ToString::to_string).collect();
        Self::new(StatusCode::BAD_GATEWAY, "ProxyFailed", causes.join(": "))
    }

    /// The response to a request.
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

/// Sets the headers that all responses copy from their requests.
pub(super) fn stamp(headers: &mut HeaderMap, asked: &ProxyRequest) {
    put(headers, "x-ms-version", asked.header("x-ms-version").unwrap_or("2025-05-05"));
    if let Some(id) = asked.header("x-ms-client-request-id") {
        put(headers, "x-ms-client-request-id", id);
    }
}

/// Sets a header. A value that is not valid in a header is omitted.
pub(super) fn put(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(HeaderName::from_static(name), value);
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
