//! Storage Queues.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use azure_core::http::headers::HeaderName;
use azure_core::http::{RequestContent, Url};
use azure_storage_queue::models::{
    QueueClientGetPropertiesResultHeaders as _, QueueClientReceiveMessagesOptions, QueueClientSendMessageOptions,
    QueueMessage, ReceivedMessage,
};
use azure_storage_queue::{QueueClient, QueueServiceClient, QueueServiceClientOptions};
use goldfleet_azure_settings::Prefix;
use goldfleet_model::message::QueueName;
use goldfleet_ports::error::{ErrorKind, PortError, PortResult};
use goldfleet_ports::queue::{MAX_MESSAGE, MAX_RECEIVE, Queue, Receipt, Received};

use super::connection::{Connection, STORAGE_SCOPE};
use super::error::{incomplete, port_error};

/// The time to live of a message: unlimited. Source: Put Message, `messagettl` of -1.
const NO_EXPIRY: i32 = -1;

/// The maximum visibility timeout of a message. Source: Azure Storage Queues, 7 days.
const MAX_HIDDEN: Duration = Duration::from_secs(7 * 24 * 60 * 60);

const POP_RECEIPT: HeaderName = HeaderName::from_static("x-ms-popreceipt");

/// The queues of a fleet in a storage account: `PREFIX-dispatch`, `PREFIX-seed` and so on.
pub struct AzureQueue {
    queues: BTreeMap<QueueName, (String, QueueClient)>,
}

impl AzureQueue {
    /// Opens the queues at `endpoint` whose names begin with `prefix`.
    ///
    /// # Errors
    /// Returns an error if `endpoint` is not a valid URL.
    pub fn new(connection: &Connection, endpoint: &str, prefix: &Prefix) -> PortResult<Self> {
        let url = Url::parse(endpoint)
            .map_err(|error| PortError::new(ErrorKind::Invalid, format!("queue_endpoint {endpoint:?}: {error}")))?;
        let options = QueueServiceClientOptions {
            client_options: connection.options(STORAGE_SCOPE),
            ..QueueServiceClientOptions::default()
        };
        let service =
            QueueServiceClient::new(url, None, Some(options)).map_err(|error| port_error(endpoint, &error))?;
        let client = |queue: QueueName| {
            let name = format!("{prefix}-{queue}");
            let client = service.queue_client(&name).map_err(|error| port_error(&name, &error))?;
            Ok((queue, (name, client)))
        };
        Ok(Self { queues: QueueName::ALL.into_iter().map(client).collect::<PortResult<_>>()? })
    }

    /// The name of a queue in the account, and its client.
    fn queue(&self, queue: QueueName) -> PortResult<(&str, &QueueClient)> {
        let found = self.queues.get(&queue).map(|(name, client)| (name.as_str(), client));
        found.ok_or_else(|| PortError::new(ErrorKind::Invalid, format!("there is no queue {queue}")))
    }
}

#[async_trait]
impl Queue for AzureQueue {
    async fn ensure(&self) -> PortResult<()> {
        for (name, client) in self.queues.values() {
            // The service returns 204 for a queue that already exists with the same metadata.
            client.create(None).await.map_err(|error| port_error(format!("queue {name}"), &error))?;
        }
        Ok(())
    }

    async fn send(&self, queue: QueueName, body: &str, delay: Duration) -> PortResult<()> {
        let (name, client) = self.queue(queue)?;
        check(name, body)?;
        let message = QueueMessage { message_text: Some(body.to_owned()) };
        let message = RequestContent::try_from(message).map_err(|error| port_error(format!("queue {name}"), &error))?;
        let options = QueueClientSendMessageOptions {
            message_time_to_live: Some(NO_EXPIRY),
            visibility_timeout: Some(seconds(delay)),
            ..QueueClientSendMessageOptions::default()
        };
        let sent = client.send_message(message, Some(options)).await;
        sent.map(drop).map_err(|error| port_error(format!("send to queue {name}"), &error))
    }

    async fn receive(&self, queue: QueueName, max: usize, visibility: Duration) -> PortResult<Vec<Received>> {
        let (name, client) = self.queue(queue)?;
        let failed = |error: azure_core::Error| port_error(format!("receive from queue {name}"), &error);
        let options = QueueClientReceiveMessagesOptions {
            number_of_messages: i32::try_from(max.clamp(1, MAX_RECEIVE)).ok(),
            visibility_timeout: Some(seconds(visibility).max(1)),
            ..QueueClientReceiveMessagesOptions::default()
        };
        let response = client.receive_messages(Some(options)).await.map_err(failed)?;
        let messages = response.into_model().map_err(failed)?.items.unwrap_or_default();
        messages.into_iter().map(|message| received(name, message)).collect()
    }

    async fn extend(&self, queue: QueueName, receipt: &Receipt, visibility: Duration) -> PortResult<Receipt> {
        let (name, client) = self.queue(queue)?;
        let what = || format!("message {} of queue {name}", receipt.id);
        let response = client
            .update_message(&receipt.id, &receipt.pop, seconds(visibility), None)
            .await
            .map_err(|error| port_error(what(), &error))?;
        let pop = response.headers().get_optional_str(&POP_RECEIPT).map(str::to_owned);
        let pop = pop.ok_or_else(|| incomplete(what(), "pop receipt"))?;
        Ok(Receipt { id: receipt.id.clone(), pop })
    }

    async fn delete(&self, queue: QueueName, receipt: &Receipt) -> PortResult<()> {
        let (name, client) = self.queue(queue)?;
        match client.delete_message(&receipt.id, &receipt.pop, None).await {
            Ok(_) => Ok(()),
            Err(error) => {
                let error = port_error(format!("message {} of queue {name}", receipt.id), &error);
                if error.code == "message-not-found" { Ok(()) } else { Err(error) }
            }
        }
    }

    async fn depth(&self, queue: QueueName) -> PortResult<u64> {
        let (name, client) = self.queue(queue)?;
        let failed = |error: azure_core::Error| port_error(format!("queue {name}"), &error);
        let properties = client.get_properties(None).await.map_err(failed)?;
        let count = properties.approximate_messages_count().map_err(failed)?;
        let count = count.ok_or_else(|| incomplete(format!("queue {name}"), "message count"))?;
        Ok(u64::try_from(count).unwrap_or(0))
    }
}

/// Rejects messages that the service would reject: too long, or not valid in XML.
fn check(name: &str, body: &str) -> PortResult<()> {
    let refused = |rule: &str| PortError::new(ErrorKind::Invalid, format!("a message for queue {name} {rule}"));
    if body.len() > MAX_MESSAGE {
        return Err(refused(&format!("has {} bytes: at most {MAX_MESSAGE} are possible", body.len())));
    }
    if body.chars().any(|letter| letter.is_control() && !matches!(letter, '\t' | '\r' | '\n')) {
        return Err(refused("holds a control character, which XML can't carry"));
    }
    Ok(())
}

fn received(name: &str, message: ReceivedMessage) -> PortResult<Received> {
    let missing = |part: &str| incomplete(format!("a message of queue {name}"), part);
    Ok(Received {
        body: message.message_text.unwrap_or_default(),
        receipt: Receipt {
            id: message.message_id.ok_or_else(|| missing("id"))?,
            pop: message.pop_receipt.ok_or_else(|| missing("pop receipt"))?,
        },
        dequeue_count: message.dequeue_count.and_then(|count| u32::try_from(count).ok()).unwrap_or(1),
    })
}

/// Whole seconds, rounded up. A message that stays hidden slightly longer does no harm; one that becomes visible too
/// early causes duplicate work.
fn seconds(duration: Duration) -> i32 {
    let duration = duration.min(MAX_HIDDEN);
    let whole = duration.as_secs() + u64::from(duration.subsec_nanos() > 0);
    i32::try_from(whole).unwrap_or(i32::MAX)
}
