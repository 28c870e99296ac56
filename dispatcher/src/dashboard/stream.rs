//! The event stream of a job for one page: server-sent events. Source of the format: the HTML standard, section 9.2.
//!
//! All streams send the same bytes, which are made once, and a stream keeps no view alive: many pages that read slowly
//! take little memory.

use std::convert::Infallible;
use std::future::Future;
use std::sync::{Arc, Weak};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, Response};
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::feed::FeedState;
use super::view::JobView;

/// The largest number of event streams of a dashboard.
pub const MAX_STREAMS: usize = 100;

/// The interval of keep-alive comments on a connection.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(15);

/// The slots for streams. Clones share them.
#[derive(Clone)]
pub struct StreamSlots(Arc<Semaphore>);

impl Default for StreamSlots {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MAX_STREAMS)))
    }
}

impl StreamSlots {
    /// Takes a slot until it is dropped. None if all are taken.
    pub fn take(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.0).try_acquire_owned().ok()
    }
}

/// The stream of events of one page: first the complete job as the event `whole`, then differences as events `change`,
/// and an event `trouble` while the job cannot be read.
pub fn event_stream(receiver: watch::Receiver<FeedState>, slot: OwnedSemaphorePermit) -> Response<Body> {
    let page = Page { receiver, sent: None, _slot: slot };
    let events = futures::stream::unfold(page, async |mut page| {
        let event = page.next_event().await?;
        Some((Ok::<_, Infallible>(event), page))
    });
    let mut response = Response::new(Body::from_stream(events));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    response
}

/// What a page knows, and where its news come from.
struct Page {
    receiver: watch::Receiver<FeedState>,
    sent: Option<LastSent>,
    _slot: OwnedSemaphorePermit,
}

/// What a page was sent last.
struct LastSent {
    view: Weak<JobView>,
    version: u64,
    failed: bool,
}

impl Page {
    /// The next event, or a keep-alive comment. None if the feed has ended. A slow page skips intermediate changes.
    async fn next_event(&mut self) -> Option<Bytes> {
        loop {
            if self.sent.is_some() {
                match until_keep_alive(self.receiver.changed()).await {
                    Some(changed) => changed.ok()?,
                    None => return Some(Bytes::from_static(b":\n\n")),
                }
            }
            let seen = self.receiver.borrow_and_update().clone();
            let now = LastSent {
                view: Arc::downgrade(&seen.view),
                version: seen.version,
                failed: seen.failed_reads.is_some(),
            };
            let sent = self.sent.replace(now);
            if let Some(event) = event(sent.as_ref(), &seen) {
                return Some(event);
            }
        }
    }
}

/// The event that leads from what a page was sent to what was seen. None if there is no news.
fn event(sent: Option<&LastSent>, seen: &FeedState) -> Option<Bytes> {
    let Some(sent) = sent else { return Some(seen.whole()) };
    if let Some(trouble) = &seen.failed_reads {
        return Some(encode("trouble", &json!({ "error": trouble.as_ref() })));
    }
    // The feed keeps few views, so this page was slow.
    let Some(last) = sent.view.upgrade() else { return Some(seen.whole()) };
    match seen.change_since(sent.version, &last) {
        Some(change) => Some(change),
        None if sent.failed => Some(encode("change", &json!({}))),
        None => None,
    }
}

async fn until_keep_alive<T>(changed: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(KEEP_ALIVE_INTERVAL, changed).await.ok()
}

/// An event with data of one line.
pub fn encode(name: &str, data: &Value) -> Bytes {
    format!("event: {name}\ndata: {data}\n\n").into()
}
