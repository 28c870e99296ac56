//! The body of a request.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::TryStreamExt as _;
use http_body_util::{BodyDataStream, BodyExt as _};
use hyper::StatusCode;
use hyper::body::{Body as _, Incoming};

use super::answer::{Refusal, Refused};
use super::bandwidth::Bandwidth;
use super::checksum::Running;
use super::counters::Counters;
use super::source::flip;

/// The body of a request: it is read as a whole, passed on, or read and discarded.
pub(super) struct RequestBody {
    body: Option<Incoming>,
    account: String,
    counters: Arc<Counters>,
    line: Option<Arc<Bandwidth>>,
    /// The bit to flip, modulo the number of bits of the first part.
    flip: Option<u64>,
}

impl RequestBody {
    pub(super) fn new(body: Incoming, account: &str, counters: &Arc<Counters>) -> Self {
        let body = Some(body).filter(|body| !body.is_end_stream());
        Self { body, account: account.to_owned(), counters: Arc::clone(counters), line: None, flip: None }
    }

    /// Limits the bandwidth of the remaining body.
    pub(super) fn limit_with(&mut self, line: Option<Arc<Bandwidth>>) {
        self.line = line;
    }

    /// Flips a bit in the remaining body.
    pub(super) fn flip(&mut self, bit: Option<u64>) {
        self.flip = bit;
    }

    /// The whole body.
    pub(super) async fn collect(&mut self, at_most: usize) -> Refused<Bytes> {
        let mut bytes = BytesMut::new();
        while let Some(part) = self.next().await? {
            if bytes.len() + part.len() > at_most {
                return Err(Refusal::too_large());
            }
            bytes.extend_from_slice(&part);
        }
        Ok(bytes.freeze())
    }

    /// The body as a stream, with a running checksum if requested. None if there is no body.
    pub(super) fn stream(&mut self, sum: Option<Running>) -> Option<reqwest::Body> {
        let body = self.body.take()?;
        let (account, counters) = (self.account.clone(), Arc::clone(&self.counters));
        let mut bit = self.flip.take();
        let stream = BodyDataStream::new(body).map_ok(move |part| {
            counters.received(&account, part.len());
            let part = flipped(part, &mut bit);
            if let Some(sum) = &sum {
                sum.update(&part);
            }
            part
        });
        let Some(line) = self.line.clone() else { return Some(reqwest::Body::wrap_stream(stream)) };
        Some(reqwest::Body::wrap_stream(stream.and_then(move |part| {
            let line = Arc::clone(&line);
            async move {
                line.carry(part.len()).await;
                Ok(part)
            }
        })))
    }

    /// Reads the rest. A client that is still sending would not see the response.
    pub(super) async fn drain(&mut self) {
        while let Ok(Some(_)) = self.next().await {}
    }

    async fn next(&mut self) -> Refused<Option<Bytes>> {
        let Some(body) = &mut self.body else { return Ok(None) };
        loop {
            match body.frame().await {
                Some(Ok(frame)) => {
                    let Ok(part) = frame.into_data() else { continue };
                    self.counters.received(&self.account, part.len());
                    if let Some(line) = &self.line {
                        line.carry(part.len()).await;
                    }
                    return Ok(Some(flipped(part, &mut self.flip)));
                }
                Some(Err(error)) => {
                    self.body = None;
                    return Err(Refusal::new(StatusCode::BAD_REQUEST, "IncompleteBody", error.to_string()));
                }
                None => {
                    self.body = None;
                    return Ok(None);
                }
            }
        }
    }
}

/// Flips one bit in the first part that is not empty.
fn flipped(part: Bytes, bit: &mut Option<u64>) -> Bytes {
    match bit.take_if(|_| !part.is_empty()) {
        Some(bit) => {
            let mut part = BytesMut::from(part);
            flip(&mut part, bit);
            part.freeze()
        }
        None => part,
    }
}
