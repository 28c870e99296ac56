//! Error responses of the API.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::control::context::ControlError;

/// An error response.
#[derive(Debug)]
pub struct ApiError {
    status: StatusCode,
    error: String,
    hint: &'static str,
    challenge: bool,
}

impl ApiError {
    /// An error response with this status, a message, and a hint on what to do.
    pub fn new(status: StatusCode, error: impl Into<String>, hint: &'static str) -> Self {
        Self { status, error: error.into(), hint, challenge: false }
    }

    /// The same response with a challenge, on which a browser asks for the password.
    #[must_use]
    pub fn with_challenge(mut self) -> Self {
        self.challenge = true;
        self
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(json!({ "error": self.error, "hint": self.hint }))).into_response();
        if self.challenge {
            let value = HeaderValue::from_static("Basic realm=\"goldfleet: any name, the token as password\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, value);
        }
        response
    }
}

impl From<ControlError> for ApiError {
    fn from(error: ControlError) -> Self {
        let status = match &error {
            ControlError::NoSuchJob(_) | ControlError::NoJobWithPrefix(_) | ControlError::NoJobs => {
                StatusCode::NOT_FOUND
            }
            ControlError::Port(_) => StatusCode::BAD_GATEWAY,
            _ => StatusCode::CONFLICT,
        };
        Self::new(status, error.to_string(), "")
    }
}
