//! What was asked for, counted.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;

/// A PUT that was accepted: its operation may still fail.
#[derive(Debug, Clone, PartialEq)]
pub struct Accepted {
    /// The resource's id as it was asked for.
    pub id: String,
    /// The object id of who asked.
    pub principal: String,
    /// When.
    pub at: Timestamp,
    /// The body as it came.
    pub body: Value,
}

/// What was asked for.
#[derive(Debug, Clone, Default)]
pub struct Log {
    /// The requests by method and resource type, as in `PUT Microsoft.Compute/images`. Polls are
    /// `GET Microsoft.Compute/locations/capsOperations`. What was refused, throttled or lost by a fault counts too.
    pub requests: BTreeMap<String, usize>,
    /// The answers by status code. What was reset has none.
    pub answers: BTreeMap<u16, usize>,
    /// The accepted bodies, in their order.
    pub accepted: Vec<Accepted>,
}

impl Log {
    /// How many requests of a method there were for a resource type.
    #[must_use]
    pub fn count(&self, method: &str, resource_type: &str) -> usize {
        self.requests.get(&format!("{method} {resource_type}")).copied().unwrap_or_default()
    }
}
