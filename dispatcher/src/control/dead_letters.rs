//! Dead letters: the messages of operations that failed, and messages that cannot be read.
//!
//! A dead letter is stale when its operation was retried, or when its job was removed. Whoever retries operations
//! deletes those that this makes stale; the dispatcher deletes the others. A letter is received before its row is read,
//! and an operation that fails again gets another letter. So no letter of an operation that has failed is deleted.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::stream::{self, StreamExt as _};
use goldfleet_model::ids::JobId;
use goldfleet_model::message::{Message, QueueName};
use goldfleet_model::operation::OperationState;
use goldfleet_ports::Ports;
use goldfleet_ports::error::{ErrorKind, PortResult};
use goldfleet_ports::queue::{MAX_RECEIVE, Receipt, Received};

use crate::control::context::MAX_IN_FLIGHT;

/// How long the letters are hidden while they are examined. If the process ends meanwhile, they are visible again
/// afterwards.
const VISIBILITY: Duration = Duration::from_secs(60);

/// The most letters that one call examines. Later calls examine the others, because examined letters go to the end of
/// the queue.
const MAX_LETTERS: usize = 1024;

/// What happens to stale letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StaleLetters {
    /// They are counted.
    Keep,
    /// They are deleted.
    Delete,
}

/// The letters that were examined.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeadLetters {
    /// The number of letters of operations that have failed, by job.
    pub failed: BTreeMap<JobId, usize>,
    /// The number of stale letters.
    pub stale: usize,
    /// The number of messages that cannot be read.
    pub unreadable: usize,
    /// Whether there may be more letters than those that were examined.
    pub more: bool,
}

/// What a letter is about.
enum Letter {
    Failed(JobId),
    Stale,
    Unreadable,
}

/// Examines the dead letters, and makes those that are kept visible again.
///
/// # Errors
/// If the queue or the table cannot be reached. Letters that were deleted before stay deleted.
pub async fn examine(ports: &Ports, stale: StaleLetters) -> PortResult<DeadLetters> {
    let mut held: Vec<Received> = Vec::new();
    let received = receive(ports, &mut held).await;
    let mut found = DeadLetters { more: held.len() >= MAX_LETTERS, ..DeadLetters::default() };
    let letters = stream::iter(held)
        .map(async |received| settle(ports, stale, received).await)
        .buffer_unordered(MAX_IN_FLIGHT)
        .collect::<Vec<_>>();
    for letter in letters.await {
        match letter? {
            Letter::Failed(job) => *found.failed.entry(job).or_default() += 1,
            Letter::Stale => found.stale += 1,
            Letter::Unreadable => found.unreadable += 1,
        }
    }
    received.map(|()| found)
}

/// Deletes stale letters. A failure is logged: the next call deletes them.
pub async fn delete_stale(ports: &Ports) {
    let examined = async {
        // Most fleets have no dead letters.
        if ports.queue.depth(QueueName::DeadLetter).await? > 0 {
            examine(ports, StaleLetters::Delete).await?;
        }
        PortResult::Ok(())
    };
    if let Err(error) = examined.await {
        tracing::debug!(%error, "stale dead letters could not be deleted");
    }
}

async fn receive(ports: &Ports, held: &mut Vec<Received>) -> PortResult<()> {
    while held.len() < MAX_LETTERS {
        let batch = ports.queue.receive(QueueName::DeadLetter, MAX_RECEIVE, VISIBILITY).await?;
        if batch.is_empty() {
            break;
        }
        held.extend(batch);
    }
    Ok(())
}

/// Reads the row of a letter, and deletes the letter or makes it visible again.
async fn settle(ports: &Ports, stale: StaleLetters, received: Received) -> PortResult<Letter> {
    let letter = read(ports, &received).await;
    match letter {
        Ok(Letter::Stale) if stale == StaleLetters::Delete => delete(ports, &received.receipt).await?,
        _ => release(ports, &received.receipt).await?,
    }
    letter
}

async fn read(ports: &Ports, received: &Received) -> PortResult<Letter> {
    let Ok(Message { job, operation: Some(operation), .. }) = Message::decode(&received.body) else {
        return Ok(Letter::Unreadable);
    };
    // Rows are written before their messages, so a missing row means that the job was removed.
    let row = ports.table.operation(&job, &operation).await?;
    let has_failed = row.is_some_and(|row| row.value.state == OperationState::Failed);
    Ok(if has_failed { Letter::Failed(job) } else { Letter::Stale })
}

async fn delete(ports: &Ports, receipt: &Receipt) -> PortResult<()> {
    unless_received_by_another(ports.queue.delete(QueueName::DeadLetter, receipt).await)
}

async fn release(ports: &Ports, receipt: &Receipt) -> PortResult<()> {
    let released = ports.queue.extend(QueueName::DeadLetter, receipt, Duration::ZERO).await;
    unless_received_by_another(released.map(drop))
}

/// Another process may examine the letters too. Then it decides.
fn unless_received_by_another(done: PortResult<()>) -> PortResult<()> {
    match done {
        Err(error) if matches!(error.kind, ErrorKind::Conflict | ErrorKind::NotFound) => Ok(()),
        done => done,
    }
}
