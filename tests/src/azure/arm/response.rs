//! Responses and errors, with the headers and the bodies of Resource Manager.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use serde_json::{Value, json};
use uuid::Uuid;

/// A response, without the headers that all responses have.
#[derive(Debug, Clone)]
pub(super) struct ArmAnswer {
    pub(super) status: StatusCode,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Option<Value>,
    /// A body that is not JSON, with its content type.
    pub(super) bytes: Option<(&'static str, Vec<u8>)>,
}

/// The result of a handler: a response, or an error, which is a response too.
pub(super) type HandlerResult = Result<ArmAnswer, ArmAnswer>;

impl ArmAnswer {
    pub(super) fn empty(status: StatusCode) -> Self {
        Self { status, headers: Vec::new(), body: None, bytes: None }
    }

    pub(super) fn json(status: StatusCode, body: Value) -> Self {
        Self { body: Some(body), ..Self::empty(status) }
    }

    pub(super) fn bytes(status: StatusCode, content_type: &'static str, bytes: Vec<u8>) -> Self {
        Self { bytes: Some((content_type, bytes)), ..Self::empty(status) }
    }

    pub(super) fn ok(body: Value) -> Self {
        Self::json(StatusCode::OK, body)
    }

    /// An error. Source: specification, common-types v3, `ErrorResponse`.
    pub(super) fn error(status: StatusCode, code: &str, message: impl Into<String>) -> Self {
        Self::json(status, json!({ "error": { "code": code, "message": message.into() } }))
    }

    pub(super) fn bad_request(code: &str, message: impl Into<String>) -> Self {
        Self::error(StatusCode::BAD_REQUEST, code, message)
    }

    /// Adds a member (`target`, `details`, `additionalInfo`) to an error.
    pub(super) fn with(mut self, member: &str, value: Value) -> Self {
        if let Some(error) = self.body.as_mut().and_then(|body| body["error"].as_object_mut()) {
            error.insert(member.to_owned(), value);
        }
        self
    }

    pub(super) fn target(self, target: &str) -> Self {
        self.with("target", json!(target))
    }

    pub(super) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// The error for a missing or invalid value. Source: seen, Azure/azure-powershell#4001.
    pub(super) fn missing(parameter: &str) -> Self {
        let message = format!("Required parameter '{parameter}' is missing (null).");
        Self::bad_request("InvalidParameter", message).target(parameter)
    }

    /// The error for a resource that does not exist. Source: seen, the message of Resource Manager with its link.
    pub(super) fn resource_not_found(kind: &str, name: &str, group: &str) -> Self {
        let message = format!(
            "The Resource '{kind}/{name}' under resource group '{group}' was not found. For more details please go to \
             https://aka.ms/ARMResourceNotFoundFix"
        );
        Self::error(StatusCode::NOT_FOUND, "ResourceNotFound", message)
    }

    /// The HTTP response. All responses have request and correlation ids. Source: Azure, Resource Manager's request
    /// headers: `x-ms-request-id` is new for every request, `x-ms-correlation-request-id` is returned if it was sent.
    pub(super) fn response(self, correlation: Option<&HeaderValue>) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = self.status;
        if let Some(body) = self.body {
            *response.body_mut() = Body::from(body.to_string());
            let json = HeaderValue::from_static("application/json; charset=utf-8");
            response.headers_mut().insert(header::CONTENT_TYPE, json);
        }
        if let Some((content_type, bytes)) = self.bytes {
            *response.body_mut() = Body::from(bytes);
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        }
        for (name, value) in self.headers {
            if let Ok(value) = HeaderValue::from_str(&value) {
                response.headers_mut().insert(name, value);
            }
        }
        let id = HeaderValue::from_str(&Uuid::new_v4().to_string()).unwrap_or(HeaderValue::from_static("0"));
        let correlation = correlation.cloned().unwrap_or_else(|| id.clone());
        response.headers_mut().insert("x-ms-correlation-request-id", correlation);
        response.headers_mut().insert("x-ms-request-id", id);
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        response
    }
}
