//! The conversion of Azure's errors, and which parts of them are shown.
//!
//! Only the service's code, the first line of its message and the request id are kept from an SDK error. Addresses are
//! dropped, because they may contain signatures.

use std::error::Error as _;
use std::fmt::Display;
use std::time::Duration;

use azure_core::Error;
use azure_core::error::ErrorKind as Sdk;
use azure_core::http::RawResponse;
use azure_core::http::headers::{HeaderName, Headers};
use goldfleet_ports::error::{CREDENTIAL_NOT_SET_UP, ErrorKind, PortError};
use serde_json::Value;

use super::set_up::NotSetUp;

const ERROR_CODE: HeaderName = HeaderName::from_static("x-ms-error-code");
const SOURCE_STATUS: HeaderName = HeaderName::from_static("x-ms-copy-source-status-code");
const SOURCE_CODE: HeaderName = HeaderName::from_static("x-ms-copy-source-error-code");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-ms-request-id");
const CORRELATION_ID: HeaderName = HeaderName::from_static("x-ms-correlation-request-id");
const RETRY_AFTER: HeaderName = HeaderName::from_static("retry-after");
const RETRY_AFTER_MS: [HeaderName; 2] =
    [HeaderName::from_static("retry-after-ms"), HeaderName::from_static("x-ms-retry-after-ms")];

/// The maximum number of characters that are kept of a service's message: policy refusals contain pages of JSON.
const MAX_MESSAGE: usize = 600;

/// The error that a service's response describes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct ErrorResponse {
    pub(super) status: u16,
    pub(super) code: String,
    pub(super) message: String,
    /// The codes and messages of the parts of a composed error. Source: OData, error response; Resource Manager, common
    /// error.
    pub(super) details: Vec<(String, String)>,
    pub(super) request_id: Option<String>,
    pub(super) retry_after: Option<Duration>,
}

impl ErrorResponse {
    /// Parses a response that is not a success.
    pub(super) fn read(status: u16, headers: &Headers, body: &[u8]) -> Self {
        let (code, message) = code_and_message(body);
        let id = [&CORRELATION_ID, &REQUEST_ID].into_iter().find_map(|name| headers.get_optional_str(name));
        Self {
            status,
            code: headers.get_optional_str(&ERROR_CODE).map(str::to_owned).or(code).unwrap_or_default(),
            message: message.map(|message| first_line(&message)).unwrap_or_default(),
            details: details(body),
            request_id: id.map(str::to_owned),
            retry_after: retry_after(headers),
        }
    }

    /// Converts the response to a port error with `what` in the message.
    pub(super) fn into_port_error(self, what: impl Display) -> PortError {
        let kind = error_kind(self.status, &self.code);
        let said = match (self.code.is_empty(), self.message.is_empty()) {
            (true, true) => format!("HTTP status {}", self.status),
            (true, false) => self.message,
            (false, true) => self.code.clone(),
            (false, false) => format!("{} ({})", self.message, self.code),
        };
        let mut error = PortError::new(kind, format!("{what}: {said}"));
        if !self.code.is_empty() {
            error.code = kebab(&self.code);
        }
        error.request_id = self.request_id;
        error.retry_after = self.retry_after;
        error
    }
}

/// Converts an SDK error to a port error with `what` in the message.
pub(super) fn port_error(what: impl Display, error: &Error) -> PortError {
    match error.kind() {
        Sdk::HttpResponse { status, error_code, raw_response } => {
            let mut refusal = raw_response.as_deref().map(read_raw).unwrap_or_default();
            refusal.status = (*status).into();
            if refusal.code.is_empty() {
                refusal.code = error_code.clone().unwrap_or_default();
            }
            refusal.into_port_error(what)
        }
        Sdk::Connection | Sdk::Io => PortError::new(
            ErrorKind::Unavailable,
            format!("{what}: the service cannot be reached: {}", innermost_cause(error)),
        ),
        Sdk::Credential => credential_error(what, error),
        _ => PortError::new(ErrorKind::Invalid, format!("{what}: {}", innermost_cause(error))),
    }
}

/// The error of a credential.
fn credential_error(what: impl Display, error: &Error) -> PortError {
    let message = format!("{what}: no token: {}", first_line(&error.to_string()));
    match NotSetUp::of(error) {
        Some(fault) if fault.is_lasting => PortError::new(ErrorKind::Invalid, message).with_code(CREDENTIAL_NOT_SET_UP),
        Some(_) => PortError::new(ErrorKind::Unavailable, message).with_code(CREDENTIAL_NOT_SET_UP),
        // The error is retryable: a token endpoint that is down for a minute must not fail a thousand operations
        // permanently.
        None => PortError::new(ErrorKind::Unavailable, message).with_code("credential-unavailable"),
    }
}

/// The error of a source that the service tried to read, as a port error with `what` in the message. Returns None if
/// the response does not concern a source. Source: Azure Storage, status and error codes, copy API error response.
pub(super) fn source_error(what: impl Display, error: &Error) -> Option<PortError> {
    let Sdk::HttpResponse { raw_response: Some(raw), .. } = error.kind() else { return None };
    let status = raw.headers().get_optional_str(&SOURCE_STATUS)?.parse().ok()?;
    let code = raw.headers().get_optional_str(&SOURCE_CODE).unwrap_or_default().to_owned();
    Some(ErrorResponse { status, code, ..read_raw(raw) }.into_port_error(what))
}

/// The error for a success whose response lacks `part`.
pub(super) fn incomplete(what: impl Display, part: &str) -> PortError {
    PortError::new(ErrorKind::Unavailable, format!("{what}: the service's answer has no {part}"))
}

fn read_raw(raw: &RawResponse) -> ErrorResponse {
    ErrorResponse::read(raw.status().into(), raw.headers(), raw.body())
}

/// The innermost cause of an error. The outer errors of an HTTP client contain the address.
fn innermost_cause(error: &Error) -> String {
    let mut innermost: Option<&dyn std::error::Error> = None;
    let mut next = error.source();
    while let Some(error) = next {
        innermost = Some(error);
        next = error.source();
    }
    first_line(&innermost.map_or_else(|| error.to_string(), ToString::to_string))
}

/// The kind of an error. Source: the error codes of the Blob, Queue and Table services, and the common ones of storage
/// and Resource Manager.
fn error_kind(status: u16, code: &str) -> ErrorKind {
    match (status, code) {
        (_, "Crc64Mismatch" | "Md5Mismatch") => ErrorKind::Corrupt,
        (_, "SequenceNumberConditionNotMet") => ErrorKind::Fenced,
        (400, "PopReceiptMismatch") | (412, _) => ErrorKind::Conflict,
        (404, _) => ErrorKind::NotFound,
        (409, "ContainerBeingDeleted" | "QueueBeingDeleted" | "TableBeingDeleted") => ErrorKind::Unavailable,
        // A retry of these cannot succeed.
        (409, "BlobImmutableDueToPolicy" | "BlobImmutableDueToLegalHold") => ErrorKind::Denied,
        (409, code) if code.ends_with("AlreadyExists") => ErrorKind::AlreadyExists,
        (409, _) => ErrorKind::Conflict,
        (401 | 403, _) => ErrorKind::Denied,
        (429, _) | (503, "ServerBusy") => ErrorKind::Throttled,
        (408 | 500..=599, _) => ErrorKind::Unavailable,
        _ => ErrorKind::Invalid,
    }
}

/// The wait that a service requests: in milliseconds, in seconds, or until a date.
pub(super) fn retry_after(headers: &Headers) -> Option<Duration> {
    let number = |name: &HeaderName| headers.get_optional_str(name)?.trim().parse::<u64>().ok();
    if let Some(millis) = RETRY_AFTER_MS.iter().find_map(number) {
        return Some(Duration::from_millis(millis));
    }
    if let Some(seconds) = number(&RETRY_AFTER) {
        return Some(Duration::from_secs(seconds));
    }
    let date = azure_core::time::parse_rfc7231(headers.get_optional_str(&RETRY_AFTER)?).ok()?;
    Some(Duration::try_from(date - azure_core::time::OffsetDateTime::now_utc()).unwrap_or_default())
}

/// Replaces a requested wait that is longer than `most`.
pub(super) fn cap_retry_after(headers: &mut Headers, most: Duration) {
    if retry_after(headers).is_some_and(|asked| asked > most) {
        for name in RETRY_AFTER_MS {
            headers.remove(name);
        }
        headers.insert(RETRY_AFTER, most.as_secs().to_string());
    }
}

/// The code and the message of an error body: Resource Manager's JSON, the Table service's JSON, or storage's XML.
fn code_and_message(body: &[u8]) -> (Option<String>, Option<String>) {
    let text = String::from_utf8_lossy(body);
    if let Ok(json) = serde_json::from_str::<Value>(&text) {
        let error = json.get("error").or_else(|| json.get("odata.error")).unwrap_or(&json);
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let message = error.get("message");
        let message = message.and_then(|message| text(message.get("value").unwrap_or(message)));
        return (error.get("code").and_then(text), message);
    }
    let element = |name: &str| {
        let (_, rest) = text.split_once(&format!("<{name}>"))?;
        rest.split_once(&format!("</{name}>")).map(|(inner, _)| inner.to_owned())
    };
    (element("Code"), element("Message"))
}

/// The parts of a composed error.
fn details(body: &[u8]) -> Vec<(String, String)> {
    let json: Value = serde_json::from_slice(body).unwrap_or_default();
    let parts = json.pointer("/error/details").or_else(|| json.get("details")).and_then(Value::as_array);
    let text = |part: &Value, name: &str| part.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let parts = parts.into_iter().flatten().take(MAX_DETAILS);
    parts.map(|part| (text(part, "code"), first_line(&text(part, "message")))).collect()
}

/// The most parts of a composed error that are read.
const MAX_DETAILS: usize = 16;

/// The first line of a message, at most [`MAX_MESSAGE`] characters of it, without any signature.
pub(super) fn first_line(message: &str) -> String {
    let line = message.lines().next().unwrap_or_default().trim();
    let line: String = line.chars().take(MAX_MESSAGE).collect();
    match line.find("sig=") {
        Some(at) => format!("{}sig=…", &line[..at]),
        None => line,
    }
}

/// Converts a code to kebab case, for example `AuthorizationFailed` to `authorization-failed`.
pub(super) fn kebab(code: &str) -> String {
    let mut kebab = String::with_capacity(code.len() + 4);
    let mut before_was_lower = false;
    for letter in code.chars() {
        if letter.is_ascii_uppercase() && before_was_lower {
            kebab.push('-');
        }
        before_was_lower = letter.is_ascii_lowercase() || letter.is_ascii_digit();
        kebab.push(if letter.is_ascii_alphanumeric() { letter.to_ascii_lowercase() } else { '-' });
    }
    kebab
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_bodies_of_three_services_parse() {
        for body in [
            r#"{"error":{"code":"Broken","message":"It broke."}}"#,
            r#"{"odata.error":{"code":"Broken","message":{"lang":"en-US","value":"It broke.\nRequestId:1"}}}"#,
            "<?xml version=\"1.0\"?><Error><Code>Broken</Code><Message>It broke.\nRequestId:1</Message></Error>",
        ] {
            let refusal = ErrorResponse::read(400, &Headers::new(), body.as_bytes());
            assert_eq!((refusal.code.as_str(), refusal.message.as_str()), ("Broken", "It broke."), "{body}");
        }
    }

    #[test]
    fn signatures_are_removed_from_messages() {
        let body = r#"{"error":{"code":"X","message":"cannot read https://a.example/b?sv=1&sig=abc%3D"}}"#;
        let error = ErrorResponse::read(400, &Headers::new(), body.as_bytes()).into_port_error("image");
        assert_eq!(error.message, "image: cannot read https://a.example/b?sv=1&sig=… (X)");
    }

    #[test]
    fn codes_are_kebab_case() {
        assert_eq!(kebab("AuthorizationFailed"), "authorization-failed");
        assert_eq!(kebab("Crc64Mismatch"), "crc64-mismatch");
        assert_eq!(kebab("InvalidURI"), "invalid-uri");
    }

    #[test]
    fn retry_after_is_read_in_three_forms() {
        let asked = |name: HeaderName, value: &str| {
            let mut headers = Headers::new();
            headers.insert(name, value.to_owned());
            retry_after(&headers)
        };
        assert_eq!(asked(RETRY_AFTER, "7"), Some(Duration::from_secs(7)));
        assert_eq!(asked(HeaderName::from_static("x-ms-retry-after-ms"), "70"), Some(Duration::from_millis(70)));
        assert_eq!(asked(RETRY_AFTER, "Wed, 21 Oct 2015 07:28:00 GMT"), Some(Duration::ZERO), "a date that has passed");
    }
}
