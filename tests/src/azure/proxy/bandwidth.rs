//! Connections with limited bandwidth.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use http_body_util::{BodyDataStream, BodyExt as _, StreamBody};
use hyper::body::Frame;
use tokio::time::Instant;

use super::answer::Answer;
use super::lock;

/// Responses are sent in pieces of this size, so that they arrive steadily.
const PIECE: usize = 8 << 10;

/// A limited connection. Its users take turns, piece by piece.
#[derive(Debug)]
pub(super) struct Bandwidth {
    bytes_per_second: u64,
    /// The time at which everything that was passed on so far has been sent.
    free: Mutex<Instant>,
}

impl Bandwidth {
    pub(super) fn new(bytes_per_second: u64) -> Self {
        Self { bytes_per_second: bytes_per_second.max(1), free: Mutex::new(Instant::now()) }
    }

    /// Returns when this many bytes have been sent, after all bytes that were passed on before.
    pub(super) async fn carry(&self, bytes: usize) {
        let nanos = bytes as u128 * 1_000_000_000 / u128::from(self.bytes_per_second);
        let gone = {
            let mut free = lock(&self.free);
            *free = (*free).max(Instant::now()) + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
            *free
        };
        tokio::time::sleep_until(gone).await;
    }

    /// A response whose body is sent over this connection.
    pub(super) fn carrying(self: Arc<Self>, answer: Answer) -> Answer {
        answer.map(|body| {
            let pieces = BodyDataStream::new(body).map_ok(|part| stream::iter(cut(part)).map(Ok)).try_flatten();
            let paced = pieces.and_then(move |piece: Bytes| {
                let line = Arc::clone(&self);
                async move {
                    line.carry(piece.len()).await;
                    Ok(Frame::data(piece))
                }
            });
            StreamBody::new(paced).boxed_unsync()
        })
    }
}

fn cut(mut part: Bytes) -> Vec<Bytes> {
    let mut pieces = Vec::with_capacity(part.len() / PIECE + 1);
    while part.len() > PIECE {
        pieces.push(part.split_to(PIECE));
    }
    pieces.push(part);
    pieces
}
