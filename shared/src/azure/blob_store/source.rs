//! Sources that a service reads by itself, with a SAS that is renewed in time, or when it is refused.

use std::future::Future;

use super::super::error::port_error;
use super::AzureBlobs;
use crate::model::store::BlobAddress;
use crate::ports::blob_store::SourceRange;
use crate::ports::error::{ErrorKind, PortError, PortResult};

impl AzureBlobs {
    /// An address of `blob` that lets the service read it for a while. It is a secret.
    pub(in super::super) async fn readable(&self, blob: &BlobAddress) -> PortResult<String> {
        let service = self.service(&blob.container.account)?;
        let token = self.sas.read(&blob.container, &service).await?;
        self.with_sas(blob, &token)
    }

    fn with_sas(&self, blob: &BlobAddress, token: &str) -> PortResult<String> {
        let mut url = self.blob(blob)?.url().clone();
        url.set_query(Some(token));
        Ok(url.into())
    }

    /// Sends a request that has the service read `source`, at the address that `send` is given. Where the service does not
    /// let that in, the request had no effect and is sent once more, with a new SAS: the old one's key may have been
    /// revoked, or it came to its end by a clock that is far off. Whoever asked does not learn of it, as the store is well.
    pub(super) async fn reading<T, F, Fut>(&self, source: &BlobAddress, send: F) -> PortResult<azure_core::Result<T>>
    where
        F: Fn(String) -> Fut + Send + Sync,
        Fut: Future<Output = azure_core::Result<T>> + Send,
        T: Send,
    {
        let service = self.service(&source.container.account)?;
        let token = self.sas.read(&source.container, &service).await.map_err(no_sas)?;
        let error = match send(self.with_sas(source, &token)?).await {
            Err(error) if is_denied(&port_error(source, &error)) => error,
            ended => return Ok(ended),
        };
        match self.sas.instead_of(&token, &source.container, &service).await {
            Ok(Some(token)) => Ok(send(self.with_sas(source, &token)?).await),
            Ok(None) => Ok(Err(error)),
            // Who is not let in gets no key there either.
            Err(key) if key.kind == ErrorKind::Denied => Ok(Err(error)),
            Err(key) => Err(no_sas(key)),
        }
    }
}

/// Why there is no SAS for a source: as any other reason why it can't be read, it is the source's, and another may do.
fn no_sas(error: PortError) -> PortError {
    match error.kind {
        ErrorKind::Denied => as_kind(error, ErrorKind::Unavailable, "source-denied"),
        ErrorKind::Unavailable => error.with_code("source-unavailable"),
        _ => error,
    }
}

/// Whether a service was not let in by a source. Requests themselves bear a token, of which it would be said in other words.
fn is_denied(error: &PortError) -> bool {
    let codes = ["cannot-verify-copy-source", "authentication-failed"];
    error.kind == ErrorKind::Denied && codes.contains(&error.code.as_str())
}

/// What the service says of a request that reads from a source.
pub(super) fn source_error(blob: &BlobAddress, source: &SourceRange, error: &azure_core::Error) -> PortError {
    let error = port_error(format!("{blob} from {}", source.blob), error);
    match (error.code.as_str(), error.kind) {
        ("cannot-verify-copy-source", ErrorKind::NotFound) => error.with_code("source-not-found"),
        _ if is_denied(&error) => as_kind(error, ErrorKind::Unavailable, "source-denied"),
        // The service could not read the source, which says nothing of the blob that it was to write.
        ("cannot-verify-copy-source", ErrorKind::Unavailable | ErrorKind::Throttled) => {
            error.with_code("source-unavailable")
        }
        // The last is of a source that is shorter than it should be; of the blob it would be an invalid page range.
        ("crc64-mismatch" | "md5-mismatch" | "invalid-range", _) => {
            as_kind(error, ErrorKind::Corrupt, "source-corrupt")
        }
        _ => error,
    }
}

fn as_kind(error: PortError, kind: ErrorKind, code: &'static str) -> PortError {
    PortError { kind, ..error }.with_code(code)
}
