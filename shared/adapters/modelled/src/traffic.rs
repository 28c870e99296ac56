//! The duration of a request: each limit on its path is a pipe, and the request is through when it has passed all of
//! them.
//!
//! A request enters all its pipes at once, even if one of them delays it for longer than the others. So the rate of a
//! limit is never exceeded, and no capacity is unused while a request waits for it.

use std::time::Duration;

use goldfleet_model::ids::{Region, SubscriptionId};
use goldfleet_model::store::BlobAddress;
use goldfleet_ports::blob_store::SourceRange;
use goldfleet_ports::error::{PortError, PortResult};

use super::errors;
use super::limits::{ArmKind, Limit};
use super::pipe::{Pipe, SimNanos, nanos, nanoseconds};
use super::state::{AccountId, BlobId, CloudState, LinkId};

/// A pipe on the path of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hop {
    /// The requests of an account.
    Requests(AccountId),
    /// Bytes into an account.
    In(AccountId),
    /// Bytes out of an account.
    Out(AccountId),
    /// The requests of a blob.
    BlobRequests(BlobId),
    /// The bytes of a page blob.
    BlobBytes(BlobId),
    /// Bytes between regions.
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

/// A request: its kind, its path, and its minimum duration.
pub(super) struct Request {
    kind: &'static str,
    /// The account that receives the request.
    account: AccountId,
    /// The blob that receives the request, if it exists.
    blob: Option<BlobId>,
    hops: Vec<(Hop, u64)>,
    /// The duration in nanoseconds without the time in the pipes.
    latency: u64,
    /// The duration of its bytes in nanoseconds if every pipe is idle.
    stream: u64,
    /// Whether its bytes cross between regions.
    crosses_region: bool,
    /// Whether its bytes are copied between servers.
    copy: bool,
}

/// The time at which a request ends, and the result of its check.
pub(super) type RequestEnd<T> = (SimNanos, PortResult<T>);

impl CloudState {
    /// Creates a request of a client to a blob, or to a blob that does not exist yet.
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

    /// Adds bytes that a client receives.
    pub(super) fn add_download(&mut self, request: &mut Request, bytes: u64) {
        let link = self.link_from(request.account);
        request.hops.extend(request.blob.map(|blob| (Hop::BlobBytes(blob), bytes)));
        request.hops.extend([(Hop::Out(request.account), bytes), (Hop::Link(link), bytes)]);
        self.streams(request, link, bytes);
    }

    /// Adds bytes that are copied from a blob to the destination of the request.
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

    /// Begins a checked request in which a disk in `region` receives bytes of a blob. Without a region it has failed.
    pub(super) fn copy_to_disk<T>(
        &mut self,
        now: SimNanos,
        source: &SourceRange,
        region: Option<&Region>,
        checked: PortResult<T>,
        from: impl Fn(&T) -> BlobId,
    ) -> RequestEnd<T> {
        let bytes = source.range.end.saturating_sub(source.range.start);
        let account = self.account(&source.blob.container.account);
        let to = region.map_or(self.accounts[account].region, |region| self.region(region));
        let (clients, link) = (self.link(self.home, to), self.link(self.accounts[account].region, to));
        let latency = self.request + self.links[clients].round_trip + self.links[link].round_trip;
        let mut request = Request {
            kind: "put page from url",
            account,
            blob: None,
            hops: vec![(Hop::Requests(account), 1), (Hop::Out(account), bytes), (Hop::Link(link), bytes)],
            latency,
            stream: 0,
            crosses_region: false,
            copy: true,
        };
        if let Ok(checked) = &checked {
            let from = from(checked);
            request.hops.extend([(Hop::BlobRequests(from), 1), (Hop::BlobBytes(from), bytes)]);
        }
        self.streams(&mut request, link, bytes);
        self.begin(now, &request, checked)
    }

    fn streams(&self, request: &mut Request, link: LinkId, bytes: u64) {
        request.crosses_region = self.links[link].from != self.links[link].to;
        if let (true, Some(rate)) = (request.crosses_region, self.pace.stream()) {
            request.stream = nanoseconds(bytes, rate);
        }
    }

    /// Begins a request that has been checked. Throttles it if a blob or account on its path has too large a backlog.
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

    /// Sends a request through its pipes with any backlog. Returns the time at which it is through.
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

    /// Begins a request to Resource Manager. It is checked only if it is not throttled.
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
            // Retry-After has a resolution of one second.
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

    /// Whether a hop throttles. Links never throttle: their requests wait.
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

    /// The name of a hop.
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
