//! Queues as rows of a SQLite table.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use goldfleet_model::message::{Message, QueueName};
use goldfleet_ports::clock::{Clock, LONGEST_WAIT, after};
use goldfleet_ports::error::{ErrorKind, PortError, PortResult};
use goldfleet_ports::queue::{MAX_RECEIVE, Queue, Receipt, Received, check_length};
use rusqlite::{Connection, OptionalExtension as _, params};
use uuid::Uuid;

use super::sqlite::Database;

const SEND: &str =
    "INSERT INTO messages (queue, visible, pop, dequeued, operation, body) VALUES (?1, ?2, '', 0, ?3, ?4)";

const HIDE: &str = "UPDATE messages SET visible = ?1, pop = ?2, dequeued = ?3, receiver = ?4 WHERE id = ?5";

/// Queues of one machine.
pub struct SqliteQueue {
    database: Arc<Database>,
    clock: Arc<dyn Clock>,
    /// The longest time for which a message is hidden.
    longest: Duration,
}

impl SqliteQueue {
    /// Opens the queues of an open database. `clock` determines when messages become visible.
    #[must_use]
    pub fn new(database: Arc<Database>, clock: Arc<dyn Clock>) -> Self {
        Self { database, clock, longest: LONGEST_WAIT }
    }

    /// Sets the longest time for which a message is hidden, one hour otherwise. A message that is hidden for longer is
    /// visible, because the clock was set back since.
    #[must_use]
    pub fn with_longest_wait(self, longest: Duration) -> Self {
        Self { longest, ..self }
    }

    /// Makes messages visible that are hidden for longer than the longest time.
    async fn reveal(&self, queue: QueueName, now: i64) -> PortResult<()> {
        let (beyond, failed) = (self.visible_at(self.longest), self.database.sqlite_error());
        let any = self.database.read(move |connection| {
            let sql = "SELECT 1 FROM messages WHERE queue = ?1 AND visible > ?2 LIMIT 1";
            let mut select = connection.prepare_cached(sql).map_err(&failed)?;
            select.exists(params![queue.as_str(), beyond]).map_err(&failed)
        });
        if !any.await? {
            return Ok(());
        }
        let failed = self.database.sqlite_error();
        let reveal = move |connection: &Connection| {
            let sql = "UPDATE messages SET visible = ?1 WHERE queue = ?2 AND visible > ?3";
            let mut update = connection.prepare_cached(sql).map_err(&failed)?;
            update.execute(params![now, queue.as_str(), beyond]).map_err(&failed)
        };
        let count = self.database.write(reveal).await?;
        tracing::warn!(%queue, messages = count, "messages were hidden for too long: the clock was set back");
        Ok(())
    }

    /// The time `delay` from now, in milliseconds since 1970.
    fn visible_at(&self, delay: Duration) -> i64 {
        after(self.clock.now(), delay).as_millisecond()
    }
}

#[async_trait]
impl Queue for SqliteQueue {
    async fn ensure(&self) -> PortResult<()> {
        Ok(())
    }

    async fn send(&self, queue: QueueName, body: &str, delay: Duration) -> PortResult<()> {
        check_length(body)?;
        let (visible, body, failed) = (self.visible_at(delay), body.to_owned(), self.database.sqlite_error());
        let operation = operation_of(queue, &body);
        self.database
            .write(move |connection| {
                let mut insert = connection.prepare_cached(SEND).map_err(&failed)?;
                insert.execute(params![queue.as_str(), visible, operation, body]).map_err(&failed)?;
                Ok(())
            })
            .await
    }

    async fn receive(&self, queue: QueueName, max: usize, visibility: Duration) -> PortResult<Vec<Received>> {
        let (now, hidden) = (self.visible_at(Duration::ZERO), self.visible_at(visibility));
        let failed = self.database.sqlite_error();
        // Most polls find no message. A read does not block writers.
        let any = self.database.read(move |connection| {
            let sql = "SELECT 1 FROM messages WHERE queue = ?1 AND visible <= ?2 LIMIT 1";
            let mut select = connection.prepare_cached(sql).map_err(&failed)?;
            select.exists(params![queue.as_str(), now]).map_err(&failed)
        });
        if !any.await? {
            self.reveal(queue, now).await?;
            return Ok(Vec::new());
        }
        let failed = self.database.sqlite_error();
        let limit = max.min(MAX_RECEIVE);
        let receiver = self.database.process().await?.map(|process| process.0.to_string());
        let take = move |connection: &Connection| {
            take(connection, queue, now, hidden, limit, receiver.as_deref()).map_err(&failed)
        };
        self.database.write(take).await
    }

    async fn extend(&self, queue: QueueName, receipt: &Receipt, visibility: Duration) -> PortResult<Receipt> {
        let (visible, receipt, failed) = (self.visible_at(visibility), receipt.clone(), self.database.sqlite_error());
        self.database
            .write(move |connection| {
                let pop = Uuid::new_v4().to_string();
                let sql = "UPDATE messages SET visible = ?1, pop = ?2 WHERE id = ?3 AND queue = ?4 AND pop = ?5";
                let mut update = connection.prepare_cached(sql).map_err(&failed)?;
                let changed = update
                    .execute(params![visible, pop, message_id(&receipt), queue.as_str(), receipt.pop])
                    .map_err(&failed)?;
                if changed == 1 {
                    return Ok(Receipt { id: receipt.id, pop });
                }
                let there = is_there(connection, queue, &receipt).map_err(&failed)?;
                Err(if there { stale_receipt(queue) } else { no_such_message(queue) })
            })
            .await
    }

    async fn delete(&self, queue: QueueName, receipt: &Receipt) -> PortResult<()> {
        let (receipt, failed) = (receipt.clone(), self.database.sqlite_error());
        self.database
            .write(move |connection| {
                let sql = "DELETE FROM messages WHERE id = ?1 AND queue = ?2 AND pop = ?3";
                let mut delete = connection.prepare_cached(sql).map_err(&failed)?;
                let changed =
                    delete.execute(params![message_id(&receipt), queue.as_str(), receipt.pop]).map_err(&failed)?;
                if changed == 0 && is_there(connection, queue, &receipt).map_err(&failed)? {
                    return Err(stale_receipt(queue));
                }
                Ok(())
            })
            .await
    }

    async fn depth(&self, queue: QueueName) -> PortResult<u64> {
        let failed = self.database.sqlite_error();
        self.database
            .read(move |connection| {
                let sql = "SELECT count(*) FROM messages WHERE queue = ?1";
                let mut select = connection.prepare_cached(sql).map_err(&failed)?;
                let count: i64 = select.query_row(params![queue.as_str()], |row| row.get(0)).map_err(&failed)?;
                Ok(count.unsigned_abs())
            })
            .await
    }
}

/// The operation that a message makes a worker claim, as `JOB/GROUP.STEP`. None for other messages.
fn operation_of(queue: QueueName, body: &str) -> Option<String> {
    let message = Message::decode(body).ok().filter(|_| queue != QueueName::DeadLetter)?;
    Some(format!("{}/{}", message.job, message.operation?))
}

/// Receives the messages that have been visible for the longest time.
fn take(
    connection: &Connection,
    queue: QueueName,
    now: i64,
    hidden: i64,
    limit: usize,
    receiver: Option<&str>,
) -> Result<Vec<Received>, rusqlite::Error> {
    let mut select = connection.prepare_cached(
        "SELECT id, dequeued, body FROM messages WHERE queue = ?1 AND visible <= ?2 ORDER BY visible, id LIMIT ?3",
    )?;
    let rows = select.query_map(params![queue.as_str(), now, i64::try_from(limit).unwrap_or(i64::MAX)], |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, u32>(1)?, row.get::<_, String>(2)?))
    })?;
    let rows: Vec<_> = rows.collect::<Result<_, _>>()?;
    let mut update = connection.prepare_cached(HIDE)?;
    let mut received = Vec::with_capacity(rows.len());
    for (id, dequeued, body) in rows {
        let pop = Uuid::new_v4().to_string();
        update.execute(params![hidden, pop, dequeued + 1, receiver, id])?;
        let receipt = Receipt { id: id.to_string(), pop };
        received.push(Received { body, receipt, dequeue_count: dequeued + 1 });
    }
    Ok(received)
}

/// The row id from a receipt. A receipt in another format matches no row.
fn message_id(receipt: &Receipt) -> i64 {
    receipt.id.parse().unwrap_or(-1)
}

fn is_there(connection: &Connection, queue: QueueName, receipt: &Receipt) -> Result<bool, rusqlite::Error> {
    let mut select = connection.prepare_cached("SELECT 1 FROM messages WHERE id = ?1 AND queue = ?2")?;
    let found: Option<i64> =
        select.query_row(params![message_id(receipt), queue.as_str()], |row| row.get(0)).optional()?;
    Ok(found.is_some())
}

fn stale_receipt(queue: QueueName) -> PortError {
    PortError::new(ErrorKind::Conflict, format!("a message of queue {queue} was received by someone else meanwhile"))
}

fn no_such_message(queue: QueueName) -> PortError {
    PortError::new(ErrorKind::NotFound, format!("a message of queue {queue} is gone"))
}
