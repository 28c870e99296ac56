//! Queue messages. A message only points to a row; the table row is the source of truth.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::graph::GateKey;
use super::ids::JobId;
use super::operation::OperationId;

/// The queues that a fleet uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum QueueName {
    /// Jobs to plan and fan out.
    Dispatch,
    /// Transfers between regions. They have their own queue so that transfers within a region do not delay the transfer
    /// that they wait for.
    Seed,
    /// Transfers within a region.
    Copy,
    /// Calls to Resource Manager.
    Image,
    /// Dead letters: messages of failed operations, and messages that cannot be read.
    DeadLetter,
}

impl QueueName {
    /// All queues.
    pub const ALL: [Self; 5] = [Self::Dispatch, Self::Seed, Self::Copy, Self::Image, Self::DeadLetter];

    /// The name of the queue, without the configured prefix.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dispatch => "dispatch",
            Self::Seed => "seed",
            Self::Copy => "copy",
            Self::Image => "image",
            Self::DeadLetter => "poison",
        }
    }
}

impl fmt::Display for QueueName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A pointer to a row. It contains no instructions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Message {
    /// The version of the format.
    v: u8,
    /// The job.
    pub job: JobId,
    /// The operation. None in the dispatch queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<OperationId>,
    /// A gate of the job that an operation opened. It makes the dispatcher evaluate the gate immediately instead of in
    /// the next reconciler pass. Used only in the dispatch queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate: Option<GateKey>,
}

/// A message that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum InvalidMessage {
    /// It is not JSON of the expected form.
    #[error("a queue message cannot be decoded: {0}")]
    Syntax(#[from] serde_json::Error),
    /// A newer release wrote it.
    #[error("a queue message has version {0}, this program reads version {current}", current = Message::VERSION)]
    Version(u8),
}

impl Message {
    /// The version of the format that this program writes and reads.
    pub const VERSION: u8 = 1;

    /// Creates a pointer to a job, for the dispatcher.
    #[must_use]
    pub fn job(job: &JobId) -> Self {
        Self { v: Self::VERSION, job: job.clone(), operation: None, gate: None }
    }

    /// Creates a pointer to an operation, for a worker.
    #[must_use]
    pub fn operation(job: &JobId, operation: &OperationId) -> Self {
        Self { v: Self::VERSION, job: job.clone(), operation: Some(operation.clone()), gate: None }
    }

    /// Creates a request to evaluate a gate, for the dispatcher.
    #[must_use]
    pub fn gate(job: &JobId, gate: &GateKey) -> Self {
        Self { v: Self::VERSION, job: job.clone(), operation: None, gate: Some(gate.clone()) }
    }

    /// The text of the message.
    #[must_use]
    pub fn encode(&self) -> String {
        // Serialising strings and a number cannot fail. If it did, every reader would reject the empty text.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Parses the text of a message.
    ///
    /// # Errors
    /// [`InvalidMessage`] if the text is not a goldfleet message of this version.
    pub fn decode(text: &str) -> Result<Self, InvalidMessage> {
        let message: Self = serde_json::from_str(text)?;
        if message.v == Self::VERSION { Ok(message) } else { Err(InvalidMessage::Version(message.v)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_contains_only_row_reference() {
        let job: JobId = "20261121-041502-7f3a".parse().unwrap();
        let operation: OperationId = "westeurope-0123456789ab.copy".parse().unwrap();
        let text = Message::operation(&job, &operation).encode();
        assert_eq!(text, r#"{"v":1,"job":"20261121-041502-7f3a","operation":"westeurope-0123456789ab.copy"}"#);
        assert_eq!(Message::decode(&text).unwrap(), Message::operation(&job, &operation));
        assert_eq!(Message::job(&job).encode(), r#"{"v":1,"job":"20261121-041502-7f3a"}"#);
    }

    #[test]
    fn unknown_messages_are_rejected() {
        for text in ["", "{}", r#"{"v":2,"job":"a"}"#, r#"{"v":1,"job":"a/b"}"#, r#"{"v":1,"job":"a","url":"x"}"#] {
            assert!(Message::decode(text).is_err(), "{text}");
        }
    }
}
