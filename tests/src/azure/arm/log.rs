//! A log and counters of requests.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;

/// A PUT that was accepted. Its operation may still fail.
#[derive(Debug, Clone, PartialEq)]
pub struct Accepted {
    /// The resource id as requested.
    pub id: String,
    /// The object id of the caller.
    pub principal: String,
    /// The time of the request.
    pub at: Timestamp,
    /// The body as received.
    pub body: Value,
}

/// The log.
#[derive(Debug, Clone, Default)]
pub struct Log {
    /// The requests by method and resource type, such as `PUT Microsoft.Compute/images`. Polls are
    /// `GET Microsoft.Compute/locations/capsOperations`. Rejected and throttled requests, and those lost by a fault,
    /// are included.
    pub requests: BTreeMap<String, usize>,
    /// The responses by status code. Reset connections have none.
    pub answers: BTreeMap<u16, usize>,
    /// Requests that the specification does not permit: an unknown path or method, a body or header that it does not
    /// describe, or a value that it does not allow. Each with the status of its refusal.
    pub violations: Vec<String>,
    /// The accepted bodies, in order.
    pub accepted: Vec<Accepted>,
}

impl Log {
    /// The number of requests with a method for a resource type.
    #[must_use]
    pub fn count(&self, method: &str, resource_type: &str) -> usize {
        self.requests.get(&format!("{method} {resource_type}")).copied().unwrap_or_default()
    }
}
