//! Sources that the service reads itself, with a SAS that is renewed before it expires or when it is rejected.

use std::future::Future;

use goldfleet_model::store::BlobAddress;
use goldfleet_ports::blob_store::SourceRange;
use goldfleet_ports::error::{ErrorKind, PortError, PortResult, SourceFault};

use super::AzureBlobs;
use crate::error::{self, port_error};

impl AzureBlobs {
    /// A URL with which the service can read `blob` until the SAS expires. The URL is a secret.
    pub(in super::super) async fn signed_url(&self, blob: &BlobAddress) -> PortResult<String> {
        let service = self.service(&blob.container.account)?;
        let token = self.sas.read_token(&blob.container, &service).await?;
        self.with_sas(blob, &token)
    }

    fn with_sas(&self, blob: &BlobAddress, token: &str) -> PortResult<String> {
        let mut url = self.blob(blob)?.url().clone();
        url.set_query(Some(token));
        Ok(url.into())
    }

    /// Sends a request in which the service reads `source` at the URL that `send` receives. `failed` converts the error
    /// of the request. If the source denies access, the request had no effect and is sent once more with a new SAS: the
    /// key of the old one may have been revoked, or it expired early because a clock is wrong. The caller does not see
    /// the first refusal, because the store works.
    pub(in super::super) async fn with_signed_source<T, S, Fut, F>(
        &self,
        source: &BlobAddress,
        send: S,
        failed: F,
    ) -> PortResult<T>
    where
        S: Fn(String) -> Fut + Send + Sync,
        Fut: Future<Output = azure_core::Result<T>> + Send,
        F: Fn(&azure_core::Error) -> PortError + Send + Sync,
        T: Send,
    {
        let service = self.service(&source.container.account)?;
        let token = self.sas.read_token(&source.container, &service).await.map_err(sas_error)?;
        let refused = match send(self.with_sas(source, &token)?).await {
            Ok(answer) => return Ok(answer),
            Err(error) if is_source_denied(&error) => failed(&error),
            Err(error) => return Err(failed(&error)),
        };
        match self.sas.replace_rejected(&token, &source.container, &service).await {
            Ok(Some(token)) => send(self.with_sas(source, &token)?).await.map_err(|error| failed(&error)),
            Ok(None) => Err(refused),
            // If the key is also denied, the identity has no access.
            Err(key) if key.kind == ErrorKind::Denied => Err(refused),
            Err(key) => Err(sas_error(key)),
        }
    }
}

/// The error for a missing SAS. Like every failure to read a source, it is attributed to the source, so that another
/// source can be used.
fn sas_error(error: PortError) -> PortError {
    match error.kind {
        ErrorKind::Denied => error.with_source_fault(SourceFault::Denied),
        ErrorKind::Unavailable => error.with_source_fault(SourceFault::Unavailable),
        _ => error,
    }
}

/// Whether a source denied access to the service. The response contains the source's own status, or a code that the
/// service does not use for the request itself, which has a bearer token.
fn is_source_denied(error: &azure_core::Error) -> bool {
    if let Some(said) = error::source_error("", error) {
        return said.kind == ErrorKind::Denied;
    }
    let error = port_error("", error);
    let codes = ["cannot-verify-copy-source", "authentication-failed"];
    error.kind == ErrorKind::Denied && codes.contains(&error.code.as_str())
}

/// Converts the error of a request that reads from a source.
pub(super) fn source_error(blob: &BlobAddress, source: &SourceRange, error: &azure_core::Error) -> PortError {
    source_error_of(&format!("{blob} from {}", source.blob), error)
}

/// As [`source_error`], with a name of the request.
pub(in super::super) fn source_error_of(what: &str, error: &azure_core::Error) -> PortError {
    let denied = is_source_denied(error);
    if let Some(said) = error::source_error(what, error) {
        return match said.kind {
            ErrorKind::NotFound => said.with_source_fault(SourceFault::Missing),
            ErrorKind::Denied => said.with_source_fault(SourceFault::Denied),
            // The range is not in the source: the source is too short.
            ErrorKind::Invalid if said.code == "invalid-range" => said.with_source_fault(SourceFault::Corrupt),
            _ => said.with_source_fault(SourceFault::Unavailable),
        };
    }
    let error = port_error(what, error);
    match (error.code.as_str(), error.kind) {
        ("cannot-verify-copy-source", ErrorKind::NotFound) => error.with_source_fault(SourceFault::Missing),
        _ if denied => error.with_source_fault(SourceFault::Denied),
        // The service could not read the source. This does not concern the blob that it was to write.
        ("cannot-verify-copy-source", ErrorKind::Unavailable | ErrorKind::Throttled) => {
            error.with_source_fault(SourceFault::Unavailable)
        }
        // `invalid-range` means that the source is too short. For the written blob the code is for an invalid page
        // range.
        ("crc64-mismatch" | "md5-mismatch" | "invalid-range", _) => error.with_source_fault(SourceFault::Corrupt),
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use azure_core::Bytes;
    use azure_core::error::ErrorKind as Sdk;
    use azure_core::http::headers::{HeaderName, Headers};
    use azure_core::http::{RawResponse, StatusCode};
    use goldfleet_model::store::Container;

    use super::*;

    /// An error response with `code`, and with the status and code of the source.
    fn refusal(
        status: StatusCode,
        code: &'static str,
        source: Option<(&'static str, &'static str)>,
    ) -> azure_core::Error {
        let mut headers = Headers::new();
        headers.insert(HeaderName::from_static("x-ms-error-code"), code);
        if let Some((status, code)) = source {
            headers.insert(HeaderName::from_static("x-ms-copy-source-status-code"), status);
            headers.insert(HeaderName::from_static("x-ms-copy-source-error-code"), code);
        }
        let raw_response = Some(Box::new(RawResponse::from_bytes(status, headers, Bytes::new())));
        azure_core::Error::from(Sdk::HttpResponse { status, error_code: None, raw_response })
    }

    #[test]
    fn source_errors_are_recognised_for_every_code() {
        let container =
            |account: &str| Container { account: account.parse().unwrap(), container: "golden".parse().unwrap() };
        let (blob, from) = (container("stage1").blob("vhd"), container("goldsource").blob("chunk"));
        let source = SourceRange { blob: from, range: 0..512, crc64: 0, md5: None };
        let (forbidden, conflict) = (StatusCode::Forbidden, StatusCode::Conflict);
        for (status, code, of_source, kind, expected) in [
            // A firewall denied access.
            (
                forbidden,
                "CannotVerifyCopySource",
                Some(("403", "AuthorizationFailure")),
                ErrorKind::Unavailable,
                "source-denied",
            ),
            (
                forbidden,
                "AuthorizationFailure",
                Some(("403", "AuthorizationFailure")),
                ErrorKind::Unavailable,
                "source-denied",
            ),
            (forbidden, "AuthorizationFailure", None, ErrorKind::Denied, "authorization-failure"),
            (forbidden, "CannotVerifyCopySource", None, ErrorKind::Unavailable, "source-denied"),
            (
                StatusCode::NotFound,
                "CannotVerifyCopySource",
                Some(("404", "BlobNotFound")),
                ErrorKind::NotFound,
                "source-not-found",
            ),
            (StatusCode::NotFound, "BlobNotFound", None, ErrorKind::NotFound, "blob-not-found"),
            (conflict, "CannotVerifyCopySource", Some(("416", "InvalidRange")), ErrorKind::Corrupt, "source-corrupt"),
            (
                conflict,
                "CannotVerifyCopySource",
                Some(("400", "InvalidHeaderValue")),
                ErrorKind::Unavailable,
                "source-unavailable",
            ),
            (
                conflict,
                "CannotVerifyCopySource",
                Some(("503", "ServerBusy")),
                ErrorKind::Throttled,
                "source-unavailable",
            ),
            (
                conflict,
                "CannotVerifyCopySource",
                Some(("500", "InternalError")),
                ErrorKind::Unavailable,
                "source-unavailable",
            ),
        ] {
            let error = source_error(&blob, &source, &refusal(status, code, of_source));
            assert_eq!((error.kind, error.code.as_str()), (kind, expected), "{code} {of_source:?}");
            assert_eq!(
                is_source_denied(&refusal(status, code, of_source)),
                expected == "source-denied",
                "{code} {of_source:?}"
            );
        }
    }
}
