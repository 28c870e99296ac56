//! What a request takes: each limit on its way is a pipe, and the request is through when it is through all of them.
//!
//! A pipe is told of a request at once, also where another one will hold it up for longer: a limit's bytes a second are
//! never exceeded, and none of them goes unused while anyone waits for it.

use std::time::Duration;

use goldfleet_model::ids::SubscriptionId;
use goldfleet_model::store::BlobAddress;
use goldfleet_ports::error::{PortError, PortResult};

use super::errors;
use super::limits::{ArmKind, Limit};
use super::pipe::{Pipe, SimNanos, nanos, nanoseconds};
use super::state::{AccountId, BlobId, CloudState, LinkId};

/// A pipe on a request's way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hop {
    /// An account's requests.
    Requests(AccountId),
    /// Bytes into an account.
    In(AccountId),
    /// Bytes out of an account.
    Out(AccountId),
    /// A blob's requests.
    BlobRequests(BlobId),
    /// A page blob's bytes.
    BlobBytes(BlobId),
    /// Bytes from region to region.
    Link(LinkId),
}

impl Hop {
    fn limit(self) -> Limit {
        match self {
            Self::Requests(_) => Limit::AccountRequests,
            Self::In(_) => Limit::AccountIngress,
            Self::Out(_) => Limit::AccountEgress,
            Self::BlobRequests(_) => Limit::BlobRequests,
            Self::BlobBytes(_) => Limit::PageBlob,
            Self::Link(_) => Limit::Wan,
        }
    }
}

/// A request: its kind, what it passes, and how long it takes at least.
pub(super) struct Request {
    kind: &'static str,
    /// The account that it goes to.
    account: AccountId,
    /// The blob that it goes to, if it is there.
    blob: Option<BlobId>,
    hops: Vec<(Hop, u64)>,
    /// Nanoseconds that it takes besides what the pipes do.
    latency: u64,
    /// Nanoseconds that its bytes take, even where every pipe is free.
    stream: u64,
    /// Whether its bytes cross between regions.
    crosses_region: bool,
    /// Whether its bytes go from server to server.
    copy: bool,
}

/// When a request ends, and with what to go on.
pub(super) type RequestEnd<T> = (SimNanos, PortResult<T>);

impl CloudState {
    /// A request of a client to a blob, or to what is not there yet in the blob's container.
    pub(super) fn request(&mut self, kind: &'static str, to: &BlobAddress) -> Request {
        let account = self.account(&to.container.account);
        let blob = self.find(to);
        let link = self.link_to(account);
        let mut legs = Vec::with_capacity(9);
        legs.push((Hop::Requests(account), 1));
        legs.extend(blob.map(|blob| (Hop::BlobRequests(blob), 1)));
        let latency = self.request + self.links[link].round_trip;
        Request { kind, account, blob, hops: legs, latency, stream: 0, crosses_region: false, copy: false }
    }

    /// Adds bytes that a client sends.
    pub(super) fn add_upload(&mut self, request: &mut Request, bytes: u64) {
        let link = self.link_to(request.account);
        request.hops.extend([(Hop::Link(link), bytes), (Hop::In(request.account), bytes)]);
        request.hops.extend(request.blob.map(|blob| (Hop::BlobBytes(blob), bytes)));
        self.streams(request, link, bytes);
    }

    /// Adds bytes that a client gets.
    pub(super) fn add_download(&mut self, request: &mut Request, bytes: u64) {
        let link = self.link_from(request.account);
        request.hops.extend(request.blob.map(|blob| (Hop::BlobBytes(blob), bytes)));
        request.hops.extend([(Hop::Out(request.account), bytes), (Hop::Link(link), bytes)]);
        self.streams(request, link, bytes);
    }

    /// Adds bytes that go from a blob to where the request goes, from server to server.
    pub(super) fn add_copy(&mut self, request: &mut Request, from: BlobId, bytes: u64) {
        let Some(source) = self.blob(from).map(|blob| blob.account) else { return };
        let link = self.link(self.accounts[source].region, self.accounts[request.account].region);
        request.hops.extend([
            (Hop::Requests(source), 1),
            (Hop::BlobRequests(from), 1),
            (Hop::BlobBytes(from), bytes),
            (Hop::Out(source), bytes),
            (Hop::Link(link), bytes),
            (Hop::In(request.account), bytes),
        ]);
        request.hops.extend(request.blob.map(|blob| (Hop::BlobBytes(blob), bytes)));
        request.latency += self.links[link].round_trip;
        request.copy = true;
        self.streams(request, link, bytes);
    }

    fn streams(&self, request: &mut Request, link: LinkId, bytes: u64) {
        request.crosses_region = self.links[link].from != self.links[link].to;
        if let (true, Some(rate)) = (request.crosses_region, self.pace.stream()) {
            request.stream = nanoseconds(bytes, rate);
        }
    }

    /// Begins a request that has been checked. Where a blob or account on its way is too far behind, it is refused.
    pub(super) fn begin<T>(&mut self, now: SimNanos, request: &Request, checked: PortResult<T>) -> RequestEnd<T> {
        let refused = now.saturating_add(request.latency);
        if checked.is_err() {
            return (refused, checked);
        }
        let over = request.hops.iter().map(|(leg, _)| *leg).find(|leg| self.is_overloaded(*leg, now));
        if let Some(leg) = over {
            return (refused, Err(self.refuse_busy(leg)));
        }
        (self.pass_all(now, request), checked)
    }

    /// Sends a request through its pipes, however far behind they are. Returns when it is through.
    pub(super) fn pass_all(&mut self, now: SimNanos, request: &Request) -> SimNanos {
        *self.requests_served.entry(request.kind).or_default() += 1;
        let mut through = now.saturating_add(request.stream);
        for (leg, amount) in &request.hops {
            self.count(*leg, *amount, request);
            if let Some(pipe) = self.pipe(*leg) {
                through = through.max(pipe.take(now, *amount));
            }
        }
        through.saturating_add(request.latency)
    }

    /// Begins a request to Resource Manager, which is checked only where it is let in.
    pub(super) fn begin_management<T>(
        &mut self,
        now: SimNanos,
        subscription: SubscriptionId,
        kind: ArmKind,
        checked: impl FnOnce(&mut Self) -> PortResult<T>,
    ) -> RequestEnd<T> {
        let until = now.saturating_add(nanos(self.pace.resource_manager()));
        let taken = self.pace.bucket(kind).map_or(Ok(()), |rates| self.arm.take(now, subscription, kind, rates));
        if let Err(wait) = taken {
            *self.requests_refused.entry(Limit::ResourceManager).or_default() += 1;
            // Retry-After has whole seconds.
            let seconds = Duration::from_nanos(wait).as_secs_f64().ceil();
            return (until, Err(errors::too_many_requests(Duration::from_secs_f64(seconds))));
        }
        let name = match kind {
            ArmKind::Read => "resource manager read",
            ArmKind::Write => "resource manager write",
            ArmKind::Delete => "resource manager delete",
        };
        *self.requests_served.entry(name).or_default() += 1;
        (until, checked(self))
    }

    /// Links are never over: what they can't take waits for them.
    fn is_overloaded(&mut self, leg: Hop, now: SimNanos) -> bool {
        let behind = self.max_backlog;
        !matches!(leg, Hop::Link(_)) && self.pipe(leg).is_some_and(|pipe| pipe.backlog(now) > behind)
    }

    fn refuse_busy(&mut self, leg: Hop) -> PortError {
        *self.requests_refused.entry(leg.limit()).or_default() += 1;
        let after = self.retry_after.mul_f64(0.5 + self.random_fraction());
        errors::server_busy(leg.limit(), &self.name(leg), after)
    }

    fn pipe(&mut self, leg: Hop) -> Option<&mut Pipe> {
        Some(match leg {
            Hop::Requests(account) => &mut self.accounts[account].requests,
            Hop::In(account) => &mut self.accounts[account].ingress,
            Hop::Out(account) => &mut self.accounts[account].egress,
            Hop::BlobRequests(blob) => &mut self.blobs.get_mut(blob)?.as_mut()?.requests,
            Hop::BlobBytes(blob) => &mut self.blobs.get_mut(blob)?.as_mut()?.bytes,
            Hop::Link(link) => &mut self.links[link].pipe,
        })
    }

    fn count(&mut self, leg: Hop, amount: u64, request: &Request) {
        match leg {
            Hop::In(account) => self.accounts[account].bytes_in += amount,
            Hop::Out(account) => {
                self.accounts[account].bytes_out += amount;
                if request.crosses_region {
                    self.accounts[account].bytes_abroad += amount;
                }
            }
            Hop::Link(link) if request.copy => self.links[link].copied += amount,
            Hop::Link(link) => self.links[link].sent += amount,
            Hop::Requests(_) | Hop::BlobRequests(_) | Hop::BlobBytes(_) => {}
        }
    }

    /// What a leg is called.
    fn name(&self, leg: Hop) -> String {
        match leg {
            Hop::Requests(account) | Hop::In(account) | Hop::Out(account) => self.accounts[account].name.to_string(),
            Hop::BlobRequests(blob) | Hop::BlobBytes(blob) => {
                self.blob(blob).map_or_else(String::new, |blob| blob.address.to_string())
            }
            Hop::Link(link) => {
                format!("{} to {}", self.regions[self.links[link].from], self.regions[self.links[link].to])
            }
        }
    }
}
