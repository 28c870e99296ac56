//! Sources that the service reads.

use std::ops::{Range, RangeInclusive};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt as _, TryStreamExt as _};
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, StatusCode};
use reqwest::{Response, Url};

use super::Core;
use super::answer::{Refusal, Refused};
use super::bandwidth::Bandwidth;
use super::request::{ProxyRequest, account, text};

/// Conditions on the source, and their names in a request to the source.
const CONDITIONS: [(&str, HeaderName); 4] = [
    ("x-ms-source-if-match", hyper::header::IF_MATCH),
    ("x-ms-source-if-none-match", hyper::header::IF_NONE_MATCH),
    ("x-ms-source-if-modified-since", hyper::header::IF_MODIFIED_SINCE),
    ("x-ms-source-if-unmodified-since", hyper::header::IF_UNMODIFIED_SINCE),
];

/// A blob that the service reads, and the account for which it reads.
#[derive(Debug, Clone)]
pub(super) struct Source {
    /// The URL as the client wrote it.
    pub(super) url: String,
    headers: HeaderMap,
    /// The account of the source, and the account for which it is read.
    pub(super) accounts: (String, String),
    /// The bit to flip, modulo the number of bits that are read.
    flip: Option<u64>,
    line: Option<Arc<Bandwidth>>,
}

/// The data to copy.
#[derive(Debug)]
pub(super) struct Extent {
    /// The headers with the source's properties.
    pub(super) headers: HeaderMap,
    pub(super) length: u64,
    pub(super) is_page_blob: bool,
    /// The ranges with data. For blobs other than page blobs, the whole blob.
    pub(super) data: Vec<Range<u64>>,
}

impl Extent {
    /// The number of bytes to copy.
    pub(super) fn bytes(&self) -> u64 {
        self.data.iter().map(|range| range.end - range.start).sum()
    }
}

impl Source {
    /// The source that a request names.
    pub(super) fn of(asked: &ProxyRequest, flip: Option<u64>) -> Refused<Self> {
        let name = "x-ms-copy-source";
        let url = asked.header(name).ok_or_else(|| Refusal::missing_header(name))?.to_owned();
        let path = Url::parse(&url).map_err(|_| Refusal::invalid_header(name))?.path().to_owned();
        let mut headers = HeaderMap::new();
        let mut take = |from: &str, to: HeaderName| {
            if let Some(value) = asked.head.headers.get(from) {
                headers.insert(to, value.clone());
            }
        };
        take("x-ms-copy-source-authorization", hyper::header::AUTHORIZATION);
        take("x-ms-version", HeaderName::from_static("x-ms-version"));
        for (from, to) in CONDITIONS {
            take(from, to);
        }
        Ok(Self { url, headers, accounts: (account(&path).to_owned(), asked.account().to_owned()), flip, line: None })
    }

    /// Reads the source with a bandwidth limit.
    pub(super) fn over(self, line: Option<Arc<Bandwidth>>) -> Self {
        Self { line, ..self }
    }

    /// Opens the source, or a range of it. Returns the response if it is successful.
    pub(super) async fn open(&self, core: &Core, range: Option<&RangeInclusive<u64>>) -> Refused<Response> {
        let mut headers = self.headers.clone();
        if let Some(range) = range {
            let value = format!("bytes={}-{}", range.start(), range.end());
            headers.insert("range", HeaderValue::from_str(&value).map_err(|error| Refusal::proxy(&error))?);
        }
        self.get(core, Method::GET, &self.url, headers).await
    }

    /// Reads exactly these bytes of the source.
    pub(super) async fn read(&self, core: &Core, range: &RangeInclusive<u64>) -> Refused<Bytes> {
        let bytes = self.collect(core, self.open(core, Some(range)).await?).await?;
        if bytes.len() as u64 == range.end() - range.start() + 1 {
            return Ok(bytes);
        }
        let message = "The range specified is invalid for the current size of the resource.";
        Err(Refusal::new(StatusCode::RANGE_NOT_SATISFIABLE, "InvalidRange", message))
    }

    /// All bytes of an opened source.
    pub(super) async fn collect(&self, core: &Core, response: Response) -> Refused<Bytes> {
        let mut bytes = BytesMut::from(response.bytes().await.map_err(|error| Refusal::proxy(&error))?);
        core.counters.sourced(&self.accounts.0, &self.accounts.1, bytes.len() as u64);
        if let Some(line) = &self.line {
            line.carry(bytes.len()).await;
        }
        if let Some(bit) = self.flip {
            flip(&mut bytes, bit);
        }
        Ok(bytes.freeze())
    }

    /// The bytes of an opened source as a stream.
    pub(super) fn stream(
        &self,
        core: &Core,
        response: Response,
    ) -> impl Stream<Item = reqwest::Result<Bytes>> + Send + 'static {
        let (accounts, counters, mut bit) = (self.accounts.clone(), core.counters.clone(), self.flip);
        let line = self.line.clone();
        response
            .bytes_stream()
            .map_ok(move |part| {
                counters.sourced(&accounts.0, &accounts.1, part.len() as u64);
                match bit.take_if(|_| !part.is_empty()) {
                    Some(bit) => {
                        let mut part = BytesMut::from(part);
                        flip(&mut part, bit);
                        part.freeze()
                    }
                    None => part,
                }
            })
            .and_then(move |part| {
                let line = line.clone();
                async move {
                    if let Some(line) = line {
                        line.carry(part.len()).await;
                    }
                    Ok(part)
                }
            })
            .boxed()
    }

    /// The data to copy.
    pub(super) async fn extent(&self, core: &Core) -> Refused<Extent> {
        let response = self.get(core, Method::HEAD, &self.url, self.headers.clone()).await?;
        let headers = response.headers().clone();
        let length = text(&headers, "content-length").and_then(|text| text.parse().ok()).unwrap_or_default();
        let is_page_blob = text(&headers, "x-ms-blob-type") == Some("PageBlob");
        let data = if is_page_blob {
            let list = with_comp(&self.url, "pagelist");
            let response = self.get(core, Method::GET, &list, self.headers.clone()).await?;
            page_ranges(&response.text().await.map_err(|error| Refusal::proxy(&error))?)
        } else {
            std::iter::once(0..length).collect()
        };
        Ok(Extent { headers, length, is_page_blob, data })
    }

    async fn get(&self, core: &Core, method: Method, url: &str, headers: HeaderMap) -> Refused<Response> {
        let response = core.upstream.read(method, url, headers).await?;
        let status = response.status();
        let code = text(response.headers(), "x-ms-error-code").unwrap_or_default().to_owned();
        let message = match status {
            status if status.is_success() => return Ok(response),
            StatusCode::PRECONDITION_FAILED | StatusCode::NOT_MODIFIED => {
                let message = "The source condition specified using HTTP conditional header(s) is not met.";
                return Err(Refusal::new(StatusCode::PRECONDITION_FAILED, "SourceConditionNotMet", message));
            }
            StatusCode::NOT_FOUND => "The specified resource does not exist.",
            StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED => {
                "Server failed to authenticate the request. Please refer to the information in the \
                 www-authenticate header."
            }
            _ => "Could not verify the copy source within the specified time.",
        };
        let refusal = Refusal::new(status, "CannotVerifyCopySource", message);
        Err(Refusal { source: Some((status, code)), ..refusal })
    }
}

/// A target with `comp` added before its query.
pub(super) fn with_comp(target: &str, comp: &str) -> String {
    match target.split_once('?') {
        Some((path, query)) => format!("{path}?comp={comp}&{query}"),
        None => format!("{target}?comp={comp}"),
    }
}

pub(super) fn flip(bytes: &mut [u8], bit: u64) {
    let bits = bytes.len() as u64 * 8;
    if bits > 0
        && let Ok(byte) = usize::try_from(bit % bits / 8)
    {
        bytes[byte] ^= 1 << (bit % 8);
    }
}

/// The ranges in a response to Get Page Ranges.
fn page_ranges(list: &str) -> Vec<Range<u64>> {
    let number = |text: &str, tag: &str| -> Option<u64> {
        text.split_once(&format!("<{tag}>"))?.1.split_once('<')?.0.trim().parse().ok()
    };
    let entries = list.split("<PageRange>").skip(1);
    entries.filter_map(|entry| Some(number(entry, "Start")?..number(entry, "End")? + 1)).collect()
}
