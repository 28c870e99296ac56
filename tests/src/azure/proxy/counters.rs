//! Counters of the traffic through the proxy.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Instant;

use super::lock;

/// The traffic since the start of the proxy, or since [`Counters::reset`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Connections from clients.
    pub connections: u64,
    /// Requests by kind: the method, ` comp=…` if the query has one, then ` from-url` if the body comes from a URL or `
    /// copy` if the service copies. Example: `PUT comp=page from-url`.
    pub requests: BTreeMap<String, u64>,
    /// Bytes of bodies from clients, by destination account.
    pub received: BTreeMap<String, u64>,
    /// Bytes of bodies to clients, by source account.
    pub sent: BTreeMap<String, u64>,
    /// Bytes that the service read from sources (operations from URL, and copies), by the source account and the
    /// destination account.
    pub sourced: BTreeMap<(String, String), u64>,
    /// Answered writes, in the order of their responses.
    pub writes: Vec<Write>,
}

/// An answered write of bytes from the client or from a URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// The time of the response.
    pub answered: Instant,
    /// The path `/account/container/blob`, as in the request.
    pub path: String,
    /// The number of bytes.
    pub bytes: u64,
    /// The HTTP status of the response.
    pub status: u16,
}

impl Counts {
    /// The number of requests of a kind.
    #[must_use]
    pub fn of(&self, kind: &str) -> u64 {
        self.requests.get(kind).copied().unwrap_or_default()
    }

    /// The number of bytes that the service read from one account for another.
    #[must_use]
    pub fn between(&self, source: &str, destination: &str) -> u64 {
        self.sourced.get(&(source.to_owned(), destination.to_owned())).copied().unwrap_or_default()
    }
}

/// Counts the traffic through the proxy.
#[derive(Debug, Default)]
pub struct Counters(Mutex<Counts>);

impl Counters {
    /// The counts so far.
    #[must_use]
    pub fn now(&self) -> Counts {
        lock(&self.0).clone()
    }

    /// Resets the counters, and returns their values.
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

    pub(super) fn wrote(&self, path: &str, bytes: u64, status: u16) {
        let write = Write { answered: Instant::now(), path: path.to_owned(), bytes, status };
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
