//! The conformance suite of queues. The tests run one after the other on the queues of one adapter, and leave them
//! empty.
#![expect(clippy::expect_used, clippy::missing_panics_doc, reason = "a suite reports by panicking")]

use std::time::Duration;

use goldfleet_model::message::QueueName;

use super::clock::Advance;
use crate::error::ErrorKind;
use crate::queue::{MAX_MESSAGE, MAX_RECEIVE, Queue, Received};

/// The visibility timeout of tests that wait for its end.
const SHORT: Duration = Duration::from_secs(1);

/// A visibility timeout that is longer than any test.
const LONG: Duration = Duration::from_secs(600);

/// Runs the suite. The queues must be empty.
pub async fn all(queue: &dyn Queue, time: &dyn Advance) {
    queue.ensure().await.expect("queues are made");
    queue.ensure().await.expect("queues that are there are no error");
    message_is_received_once(queue).await;
    message_body_round_trips(queue).await;
    message_size_limit_is_64_kib(queue).await;
    queues_are_independent(queue).await;
    delayed_message_is_hidden_until_due(queue, time).await;
    message_reappears_after_visibility_timeout(queue, time).await;
    stale_receipt_is_rejected(queue, time).await;
    extend_returns_new_receipt(queue, time).await;
    extend_by_zero_releases_message(queue).await;
    delete_is_idempotent(queue).await;
    receive_respects_maximum(queue).await;
    depth_includes_hidden_messages(queue).await;
}

async fn send(queue: &dyn Queue, body: &str) {
    queue.send(QueueName::Copy, body, Duration::ZERO).await.expect("a message is sent");
}

async fn receive(queue: &dyn Queue, visibility: Duration) -> Vec<Received> {
    queue.receive(QueueName::Copy, MAX_RECEIVE, visibility).await.expect("messages are received")
}

async fn one(queue: &dyn Queue, visibility: Duration) -> Received {
    let mut received = receive(queue, visibility).await;
    assert_eq!(received.len(), 1, "one message was to be seen: {received:?}");
    received.remove(0)
}

async fn delete(queue: &dyn Queue, received: &Received) {
    queue.delete(QueueName::Copy, &received.receipt).await.expect("a message in hand is deleted");
}

/// A received message is hidden from other receivers, and deleted messages do not return.
pub async fn message_is_received_once(queue: &dyn Queue) {
    send(queue, "one").await;
    let received = one(queue, LONG).await;
    assert_eq!((received.body.as_str(), received.dequeue_count), ("one", 1));
    assert!(receive(queue, LONG).await.is_empty(), "a message in hand was received again");
    delete(queue, &received).await;
    assert_eq!(queue.depth(QueueName::Copy).await.expect("a depth"), 0);
}

/// Any text is returned unchanged.
pub async fn message_body_round_trips(queue: &dyn Queue) {
    for body in [r#"{"v":1,"job":"a"}"#, "<a> & \"b\" 'c'", "Grüße 🚀 \u{4e2d}", "two\r\nlines", " around "] {
        send(queue, body).await;
        let received = one(queue, LONG).await;
        assert_eq!(received.body, body);
        delete(queue, &received).await;
    }
}

/// The limit is exact to the byte.
pub async fn message_size_limit_is_64_kib(queue: &dyn Queue) {
    let largest = "x".repeat(MAX_MESSAGE);
    send(queue, &largest).await;
    let received = one(queue, LONG).await;
    assert_eq!(received.body.len(), MAX_MESSAGE);
    delete(queue, &received).await;
    let refused = queue.send(QueueName::Copy, &format!("{largest}x"), Duration::ZERO).await;
    assert_eq!(refused.expect_err("a message that is too large is refused").kind, ErrorKind::Invalid);
    assert!(receive(queue, LONG).await.is_empty());
}

/// A message of one queue is not received from another.
pub async fn queues_are_independent(queue: &dyn Queue) {
    send(queue, "copy").await;
    for other in QueueName::ALL.into_iter().filter(|name| *name != QueueName::Copy) {
        let received = queue.receive(other, 1, LONG).await.expect("messages are received");
        assert!(received.is_empty(), "{other} has a message of the copy queue");
    }
    delete(queue, &one(queue, LONG).await).await;
}

/// A message is hidden until its delay has passed.
pub async fn delayed_message_is_hidden_until_due(queue: &dyn Queue, time: &dyn Advance) {
    queue.send(QueueName::Copy, "later", SHORT).await.expect("a message is sent");
    assert!(receive(queue, LONG).await.is_empty(), "a delayed message was seen at once");
    time.elapse(SHORT).await;
    delete(queue, &one(queue, LONG).await).await;
}

/// If a receiver dies, its message becomes visible again.
pub async fn message_reappears_after_visibility_timeout(queue: &dyn Queue, time: &dyn Advance) {
    send(queue, "again").await;
    assert_eq!(one(queue, SHORT).await.dequeue_count, 1);
    assert!(receive(queue, LONG).await.is_empty());
    time.elapse(SHORT).await;
    let again = one(queue, LONG).await;
    assert_eq!(again.dequeue_count, 2);
    delete(queue, &again).await;
}

/// A receiver whose visibility timeout has ended can neither extend nor delete a message that another receiver holds.
pub async fn stale_receipt_is_rejected(queue: &dyn Queue, time: &dyn Advance) {
    send(queue, "stale").await;
    let stale = one(queue, SHORT).await;
    time.elapse(SHORT).await;
    let fresh = one(queue, LONG).await;
    let deleted = queue.delete(QueueName::Copy, &stale.receipt).await;
    assert_eq!(deleted.expect_err("a stale receipt deletes nothing").kind, ErrorKind::Conflict);
    let extended = queue.extend(QueueName::Copy, &stale.receipt, LONG).await;
    assert_eq!(extended.expect_err("a stale receipt extends nothing").kind, ErrorKind::Conflict);
    delete(queue, &fresh).await;
    let gone = queue.extend(QueueName::Copy, &fresh.receipt, LONG).await;
    assert_eq!(gone.expect_err("what is gone can't be extended").kind, ErrorKind::NotFound);
}

/// The old receipt is void, the new one is valid, and the message stays hidden.
pub async fn extend_returns_new_receipt(queue: &dyn Queue, time: &dyn Advance) {
    send(queue, "extended").await;
    let received = one(queue, SHORT).await;
    let renewed = queue.extend(QueueName::Copy, &received.receipt, LONG).await.expect("a message in hand is kept");
    time.elapse(SHORT).await;
    assert!(receive(queue, LONG).await.is_empty(), "an extended message was seen");
    let old = queue.delete(QueueName::Copy, &received.receipt).await;
    assert_eq!(old.expect_err("the old receipt is void").kind, ErrorKind::Conflict);
    queue.delete(QueueName::Copy, &renewed).await.expect("the new receipt is good");
}

/// An extension by zero makes a message visible immediately.
pub async fn extend_by_zero_releases_message(queue: &dyn Queue) {
    send(queue, "back").await;
    let received = one(queue, LONG).await;
    queue.extend(QueueName::Copy, &received.receipt, Duration::ZERO).await.expect("a message is given back");
    delete(queue, &one(queue, LONG).await).await;
}

/// A deletion can be repeated after its response was lost.
pub async fn delete_is_idempotent(queue: &dyn Queue) {
    send(queue, "gone").await;
    let received = one(queue, LONG).await;
    delete(queue, &received).await;
    delete(queue, &received).await;
}

/// A receive returns at most the requested number and at most the limit of the port; in total each message is received
/// once.
pub async fn receive_respects_maximum(queue: &dyn Queue) {
    let count = MAX_RECEIVE + 8;
    for n in 0..count {
        send(queue, &n.to_string()).await;
    }
    let mut bodies: Vec<usize> = Vec::new();
    for max in [3, MAX_RECEIVE + 100, MAX_RECEIVE, MAX_RECEIVE] {
        let received = queue.receive(QueueName::Copy, max, LONG).await.expect("messages are received");
        assert!(received.len() <= max.min(MAX_RECEIVE), "{} messages for {max}", received.len());
        for message in &received {
            bodies.push(message.body.parse().expect("a number"));
            delete(queue, message).await;
        }
    }
    bodies.sort_unstable();
    assert_eq!(bodies, (0..count).collect::<Vec<_>>());
}

/// A worker that stops when idle must also count the messages that others have received.
pub async fn depth_includes_hidden_messages(queue: &dyn Queue) {
    send(queue, "seen").await;
    queue.send(QueueName::Copy, "delayed", LONG).await.expect("a message is sent");
    let received = one(queue, LONG).await;
    assert_eq!(queue.depth(QueueName::Copy).await.expect("a depth"), 2);
    delete(queue, &received).await;
    assert_eq!(queue.depth(QueueName::Copy).await.expect("a depth"), 1);
}
