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
use super::pace::{Moment, Pipe, nanos, nanoseconds};
use super::world::{AccountId, BlobId, LinkId, World};

/// A pipe on a request's way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leg {
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

impl Leg {
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
    legs: Vec<(Leg, u64)>,
    /// Nanoseconds that it takes besides what the pipes do.
    latency: u64,
    /// Nanoseconds that its bytes take, even where every pipe is free.
    stream: u64,
    /// Whether its bytes cross between regions.
    abroad: bool,
    /// Whether its bytes go from server to server.
    copy: bool,
}

/// When a request ends, and with what to go on.
pub(super) type Begun<T> = (Moment, PortResult<T>);

impl World {
    /// A request of a client to a blob, or to what is not there yet in the blob's container.
    pub(super) fn request(&mut self, kind: &'static str, to: &BlobAddress) -> Request {
        let account = self.account(&to.container.account);
        let blob = self.find(to);
        let link = self.link_to(account);
        let mut legs = Vec::with_capacity(9);
        legs.push((Leg::Requests(account), 1));
        legs.extend(blob.map(|blob| (Leg::BlobRequests(blob), 1)));
        let latency = self.request + self.links[link].round_trip;
        Request { kind, account, blob, legs, latency, stream: 0, abroad: false, copy: false }
    }

    /// Adds bytes that a client sends.
    pub(super) fn sends(&mut self, request: &mut Request, bytes: u64) {
        let link = self.link_to(request.account);
        request.legs.extend([(Leg::Link(link), bytes), (Leg::In(request.account), bytes)]);
        request.legs.extend(request.blob.map(|blob| (Leg::BlobBytes(blob), bytes)));
        self.streams(request, link, bytes);
    }

    /// Adds bytes that a client gets.
    pub(super) fn gets(&mut self, request: &mut Request, bytes: u64) {
        let link = self.link_from(request.account);
        request.legs.extend(request.blob.map(|blob| (Leg::BlobBytes(blob), bytes)));
        request.legs.extend([(Leg::Out(request.account), bytes), (Leg::Link(link), bytes)]);
        self.streams(request, link, bytes);
    }

    /// Adds bytes that go from a blob to where the request goes, from server to server.
    pub(super) fn copies(&mut self, request: &mut Request, from: BlobId, bytes: u64) {
        let Some(source) = self.blob(from).map(|blob| blob.account) else { return };
        let link = self.link(self.accounts[source].region, self.accounts[request.account].region);
        request.legs.extend([
            (Leg::Requests(source), 1),
            (Leg::BlobRequests(from), 1),
            (Leg::BlobBytes(from), bytes),
            (Leg::Out(source), bytes),
            (Leg::Link(link), bytes),
            (Leg::In(request.account), bytes),
        ]);
        request.legs.extend(request.blob.map(|blob| (Leg::BlobBytes(blob), bytes)));
        request.latency += self.links[link].round_trip;
        request.copy = true;
        self.streams(request, link, bytes);
    }

    fn streams(&self, request: &mut Request, link: LinkId, bytes: u64) {
        request.abroad = self.links[link].from != self.links[link].to;
        if let (true, Some(rate)) = (request.abroad, self.pace.stream()) {
            request.stream = nanoseconds(bytes, rate);
        }
    }

    /// Begins a request that has been checked. Where a blob or account on its way is too far behind, it is refused.
    pub(super) fn begin<T>(&mut self, now: Moment, request: &Request, checked: PortResult<T>) -> Begun<T> {
        let refused = now.saturating_add(request.latency);
        if checked.is_err() {
            return (refused, checked);
        }
        let over = request.legs.iter().map(|(leg, _)| *leg).find(|leg| self.is_over(*leg, now));
        if let Some(leg) = over {
            return (refused, Err(self.refuse(leg)));
        }
        (self.pass(now, request), checked)
    }

    /// Sends a request through its pipes, however far behind they are. Returns when it is through.
    pub(super) fn pass(&mut self, now: Moment, request: &Request) -> Moment {
        *self.served.entry(request.kind).or_default() += 1;
        let mut through = now.saturating_add(request.stream);
        for (leg, amount) in &request.legs {
            self.count(*leg, *amount, request);
            if let Some(pipe) = self.pipe(*leg) {
                through = through.max(pipe.take(now, *amount));
            }
        }
        through.saturating_add(request.latency)
    }

    /// Begins a request to Resource Manager, which is checked only where it is let in.
    pub(super) fn manage<T>(
        &mut self,
        now: Moment,
        subscription: SubscriptionId,
        kind: ArmKind,
        checked: impl FnOnce(&mut Self) -> PortResult<T>,
    ) -> Begun<T> {
        let until = now.saturating_add(nanos(self.pace.resource_manager()));
        let taken = self.pace.bucket(kind).map_or(Ok(()), |rates| self.arm.take(now, subscription, kind, rates));
        if let Err(wait) = taken {
            *self.refused.entry(Limit::ResourceManager).or_default() += 1;
            // Retry-After has whole seconds.
            let seconds = Duration::from_nanos(wait).as_secs_f64().ceil();
            return (until, Err(errors::too_many_requests(Duration::from_secs_f64(seconds))));
        }
        let name = match kind {
            ArmKind::Read => "resource manager read",
            ArmKind::Write => "resource manager write",
            ArmKind::Delete => "resource manager delete",
        };
        *self.served.entry(name).or_default() += 1;
        (until, checked(self))
    }

    /// Links are never over: what they can't take waits for them.
    fn is_over(&mut self, leg: Leg, now: Moment) -> bool {
        let behind = self.behind;
        !matches!(leg, Leg::Link(_)) && self.pipe(leg).is_some_and(|pipe| pipe.behind(now) > behind)
    }

    fn refuse(&mut self, leg: Leg) -> PortError {
        *self.refused.entry(leg.limit()).or_default() += 1;
        let after = self.retry_after.mul_f64(0.5 + self.chance());
        errors::server_busy(leg.limit(), &self.name(leg), after)
    }

    fn pipe(&mut self, leg: Leg) -> Option<&mut Pipe> {
        Some(match leg {
            Leg::Requests(account) => &mut self.accounts[account].requests,
            Leg::In(account) => &mut self.accounts[account].ingress,
            Leg::Out(account) => &mut self.accounts[account].egress,
            Leg::BlobRequests(blob) => &mut self.blobs.get_mut(blob)?.as_mut()?.requests,
            Leg::BlobBytes(blob) => &mut self.blobs.get_mut(blob)?.as_mut()?.bytes,
            Leg::Link(link) => &mut self.links[link].pipe,
        })
    }

    fn count(&mut self, leg: Leg, amount: u64, request: &Request) {
        match leg {
            Leg::In(account) => self.accounts[account].bytes_in += amount,
            Leg::Out(account) => {
                self.accounts[account].bytes_out += amount;
                if request.abroad {
                    self.accounts[account].bytes_abroad += amount;
                }
            }
            Leg::Link(link) if request.copy => self.links[link].copied += amount,
            Leg::Link(link) => self.links[link].sent += amount,
            Leg::Requests(_) | Leg::BlobRequests(_) | Leg::BlobBytes(_) => {}
        }
    }

    /// What a leg is called.
    fn name(&self, leg: Leg) -> String {
        match leg {
            Leg::Requests(account) | Leg::In(account) | Leg::Out(account) => self.accounts[account].name.to_string(),
            Leg::BlobRequests(blob) | Leg::BlobBytes(blob) => {
                self.blob(blob).map_or_else(String::new, |blob| blob.address.to_string())
            }
            Leg::Link(link) => {
                format!("{} to {}", self.regions[self.links[link].from], self.regions[self.links[link].to])
            }
        }
    }
}
