//! The counters of the modelled cloud.

use std::collections::BTreeMap;
use std::time::Duration;

use goldfleet_model::ids::{AccountName, Region};
use serde::Serialize;

use super::limits::Limit;
use super::pipe::Pipe;
use super::state::{Account, Blob, CloudState};

/// The bytes that were transferred from one region to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LinkStats {
    /// The region of the sender.
    pub from: Region,
    /// The region of the receiver.
    pub to: Region,
    /// Bytes that were copied between servers.
    pub copied: u64,
    /// Bytes that clients sent or received: manifests, footers.
    pub sent: u64,
}

/// The bytes that were transferred into and out of a storage account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AccountStats {
    /// The account.
    pub account: AccountName,
    /// Its region.
    pub region: Region,
    /// Bytes in.
    pub bytes_in: u64,
    /// Bytes out, to all destinations.
    pub bytes_out: u64,
    /// Bytes out to other regions, which cost money.
    pub bytes_abroad: u64,
}

/// The blob, account or link that was busiest under one limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Busiest {
    /// The limit.
    pub limit: Limit,
    /// The blob, account or link.
    pub name: String,
    /// The total busy time.
    pub busy: Duration,
}

/// The counters since the start of the modelled cloud or since the last reset.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// The links between regions in order, and the links inside regions with the same `from` and `to`.
    pub links: Vec<LinkStats>,
    /// The accounts with any traffic, in order.
    pub accounts: Vec<AccountStats>,
    /// The number of served requests, by kind.
    pub requests: BTreeMap<&'static str, u64>,
    /// The number of throttled requests, by limit.
    pub throttles: BTreeMap<Limit, u64>,
    /// For each limit, the busiest blob, account or link.
    pub busiest: Vec<Busiest>,
}

impl Stats {
    /// The bytes that crossed between regions, including those of clients.
    #[must_use]
    pub fn wan_bytes(&self) -> u64 {
        self.wan().map(|link| link.copied + link.sent).sum()
    }

    /// The links between regions with any traffic.
    pub fn wan(&self) -> impl Iterator<Item = &LinkStats> {
        self.links.iter().filter(|link| link.from != link.to && link.copied + link.sent > 0)
    }

    /// The number of throttled requests.
    #[must_use]
    pub fn throttled_requests(&self) -> u64 {
        self.throttles.values().sum()
    }
}

impl CloudState {
    pub(super) fn stats(&self) -> Stats {
        let mut links: Vec<LinkStats> = self
            .links
            .iter()
            .map(|link| LinkStats {
                from: self.regions[link.from].clone(),
                to: self.regions[link.to].clone(),
                copied: link.copied,
                sent: link.sent,
            })
            .collect();
        links.sort_by(|a, b| (&a.from, &a.to).cmp(&(&b.from, &b.to)));
        let used = self.accounts.iter().filter(|account| account.bytes_in + account.bytes_out > 0);
        let mut accounts: Vec<AccountStats> = used
            .map(|account| AccountStats {
                account: account.name.clone(),
                region: self.regions[account.region].clone(),
                bytes_in: account.bytes_in,
                bytes_out: account.bytes_out,
                bytes_abroad: account.bytes_abroad,
            })
            .collect();
        accounts.sort_by(|a, b| a.account.cmp(&b.account));
        let (requests, throttles) = (self.requests_served.clone(), self.requests_refused.clone());
        Stats { links, accounts, requests, throttles, busiest: self.busiest() }
    }

    /// Resets the counters.
    pub(super) fn reset_stats(&mut self) {
        self.requests_served.clear();
        self.requests_refused.clear();
        for link in &mut self.links {
            (link.copied, link.sent) = (0, 0);
            link.pipe.reset_busy();
        }
        for account in &mut self.accounts {
            (account.bytes_in, account.bytes_out, account.bytes_abroad) = (0, 0, 0);
            let Account { ingress, egress, requests, copies, .. } = account;
            [ingress, egress, requests, copies].into_iter().for_each(Pipe::reset_busy);
        }
        for blob in self.blobs.iter_mut().flatten() {
            blob.bytes.reset_busy();
            blob.requests.reset_busy();
        }
    }

    fn busiest(&self) -> Vec<Busiest> {
        let accounts = |limit, pipe: fn(&Account) -> &Pipe| {
            let busy = self.accounts.iter().map(move |account| (pipe(account).busy(), account.name.to_string()));
            busiest(limit, busy)
        };
        let blobs = |limit, pipe: fn(&Blob) -> &Pipe| {
            let blobs = self.blobs.iter().flatten().max_by_key(|blob| pipe(blob).busy());
            busiest(limit, blobs.map(|blob| (pipe(blob).busy(), blob.address.to_string())).into_iter())
        };
        let wan = self.links.iter().map(|link| {
            let name = format!("{} to {}", self.regions[link.from], self.regions[link.to]);
            (link.pipe.busy(), name)
        });
        [
            blobs(Limit::PageBlob, |blob| &blob.bytes),
            blobs(Limit::BlobRequests, |blob| &blob.requests),
            accounts(Limit::AccountIngress, |account| &account.ingress),
            accounts(Limit::AccountEgress, |account| &account.egress),
            accounts(Limit::AccountRequests, |account| &account.requests),
            accounts(Limit::CopiesInside, |account| &account.copies),
            busiest(Limit::Wan, wan),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

fn busiest(limit: Limit, all: impl Iterator<Item = (u64, String)>) -> Option<Busiest> {
    let (busy, name) = all.max_by(|a, b| a.0.cmp(&b.0).then_with(|| b.1.cmp(&a.1)))?;
    (busy > 0).then(|| Busiest { limit, name, busy: Duration::from_nanos(busy) })
}
