//! What went through the proxy.

use jiff::Timestamp;
use std::collections::BTreeMap;
use std::sync::Mutex;

use super::lock;
use super::request::{Operation, ProxyRequest};

/// What went through the proxy since it started, or since [`Counters::reset`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Connections that clients made.
    pub connections: u64,
    /// Requests by kind: the method, ` comp=…` where the query has one, then ` from-url` where the body comes from a
    /// URL or ` copy` where the service copies. Example: `PUT comp=page from-url`.
    pub requests: BTreeMap<String, u64>,
    /// Bytes of bodies that clients sent, by the account they sent them to.
    pub received: BTreeMap<String, u64>,
    /// Bytes of bodies that clients were sent, by the account they come from.
    pub sent: BTreeMap<String, u64>,
    /// Bytes that the service read from sources (operations from URL, and copies), by the source's account and the
    /// destination's.
    pub sourced: BTreeMap<(String, String), u64>,
    /// Writes that were answered, in the order of their answers.
    pub writes: Vec<Write>,
}

/// A write of bytes, from the client or from a URL, that was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// When the request arrived at the proxy, before its body.
    pub received: Timestamp,
    /// Which operation it is.
    pub operation: Operation,
    /// What was written to: `/account/container/blob`, as it stood in the request.
    pub path: String,
    /// How many bytes came with it.
    pub bytes: u64,
    /// What the service answered: an HTTP status.
    pub status: u16,
}

impl Counts {
    /// How many requests there were of a kind.
    #[must_use]
    pub fn of(&self, kind: &str) -> u64 {
        self.requests.get(kind).copied().unwrap_or_default()
    }

    /// How many bytes one account was filled with from another by the service.
    #[must_use]
    pub fn between(&self, source: &str, destination: &str) -> u64 {
        self.sourced.get(&(source.to_owned(), destination.to_owned())).copied().unwrap_or_default()
    }
}

/// Counts what goes through the proxy.
#[derive(Debug, Default)]
pub struct Counters(Mutex<Counts>);

impl Counters {
    /// What was counted so far.
    #[must_use]
    pub fn now(&self) -> Counts {
        lock(&self.0).clone()
    }

    /// Begins at nothing again, and returns what was counted.
    pub fn reset(&self) -> Counts {
        std::mem::take(&mut *lock(&self.0))
    }

    pub(super) fn connection(&self) {
        lock(&self.0).connections += 1;
    }

    pub(super) fn request(&self, kind: String) {
        *lock(&self.0).requests.entry(kind).or_default() += 1;
    }

    pub(super) fn received(&self, account: &str, bytes: usize) {
        add(&mut lock(&self.0).received, account, bytes);
    }

    pub(super) fn sent(&self, account: &str, bytes: usize) {
        add(&mut lock(&self.0).sent, account, bytes);
    }

    pub(super) fn wrote(&self, asked: &ProxyRequest, bytes: u64, status: u16) {
        let (received, operation, path) = (asked.received, asked.operation, asked.head.uri.path().to_owned());
        let write = Write { received, operation, path, bytes, status };
        lock(&self.0).writes.push(write);
    }

    pub(super) fn sourced(&self, source: &str, destination: &str, bytes: u64) {
        *lock(&self.0).sourced.entry((source.to_owned(), destination.to_owned())).or_default() += bytes;
    }
}

fn add(counts: &mut BTreeMap<String, u64>, account: &str, bytes: usize) {
    if bytes > 0 {
        *counts.entry(account.to_owned()).or_default() += bytes as u64;
    }
}
