//! The requests that the proxy distinguishes.

use std::fmt;

use hyper::Method;
use hyper::header::HeaderMap;
use hyper::http::request::Parts;

/// The operations of the Blob service that the proxy knows. All others are [`Operation::Other`] and pass through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// Put Blob, of a block blob.
    PutBlob,
    /// Put Block.
    PutBlock,
    /// Put Page, `update`.
    PutPage,
    /// Put Page, `clear`.
    ClearPages,
    /// Put Blob From URL.
    PutBlobFromUrl,
    /// Put Block From URL.
    PutBlockFromUrl,
    /// Put Page From URL.
    PutPageFromUrl,
    /// Copy Blob, asynchronous.
    CopyBlob,
    /// Copy Blob From URL: Copy Blob with `x-ms-requires-sync`.
    CopyBlobFromUrl,
    /// Abort Copy Blob.
    AbortCopy,
    /// Anything else.
    Other,
}

impl Operation {
    /// The operation of a request.
    #[must_use]
    pub fn of(head: &Parts) -> Self {
        if head.method != Method::PUT {
            return Self::Other;
        }
        let is = |name: &str, value: &str| text(&head.headers, name).is_some_and(|v| v.eq_ignore_ascii_case(value));
        let from_url = head.headers.contains_key("x-ms-copy-source");
        match (comp(head), from_url) {
            (None, true) if is("x-ms-blob-type", "BlockBlob") => Self::PutBlobFromUrl,
            (None, true) if is("x-ms-requires-sync", "true") => Self::CopyBlobFromUrl,
            (None, true) => Self::CopyBlob,
            (Some("page"), true) => Self::PutPageFromUrl,
            (Some("block"), true) => Self::PutBlockFromUrl,
            (Some("copy"), _) => Self::AbortCopy,
            (None, false) if is("x-ms-blob-type", "BlockBlob") => Self::PutBlob,
            (Some("page"), false) if is("x-ms-page-write", "update") => Self::PutPage,
            (Some("page"), false) if is("x-ms-page-write", "clear") => Self::ClearPages,
            (Some("block"), false) => Self::PutBlock,
            _ => Self::Other,
        }
    }
}

/// A request without its body.
#[derive(Debug)]
pub(super) struct ProxyRequest {
    pub(super) head: Parts,
    pub(super) operation: Operation,
}

impl ProxyRequest {
    pub(super) fn new(head: Parts) -> Self {
        let operation = Operation::of(&head);
        Self { head, operation }
    }

    /// The value of a header.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        text(&self.head.headers, name)
    }

    /// Path and query, unchanged byte for byte.
    pub(super) fn target(&self) -> &str {
        self.head.uri.path_and_query().map_or("/", |target| target.as_str())
    }

    pub(super) fn comp(&self) -> Option<&str> {
        comp(&self.head)
    }

    /// The storage account: the first segment of the path.
    pub(super) fn account(&self) -> &str {
        account(self.head.uri.path())
    }
}

impl fmt::Display for ProxyRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.head.method)?;
        if let Some(comp) = self.comp() {
            write!(f, " comp={comp}")?;
        }
        if self.head.headers.contains_key("x-ms-copy-source") {
            let copy = matches!(self.operation, Operation::CopyBlob | Operation::CopyBlobFromUrl);
            write!(f, " {}", if copy { "copy" } else { "from-url" })?;
        }
        Ok(())
    }
}

/// The value of a header, if it is text.
pub(super) fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// The value of a query parameter, not decoded.
pub(super) fn parameter<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
}

/// The account at the start of a path.
pub(super) fn account(path: &str) -> &str {
    path.trim_start_matches('/').split(['/', '?']).next().unwrap_or_default()
}

fn comp(head: &Parts) -> Option<&str> {
    parameter(head.uri.query()?, "comp")
}
