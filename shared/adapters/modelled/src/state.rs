//! The state of the modelled cloud: regions, accounts, containers, blobs, and counters.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use goldfleet_model::ids::{AccountName, ContainerName, Region, SubscriptionId};
use goldfleet_model::store::{BlobAddress, Container};
use goldfleet_ports::ETag;
use goldfleet_ports::blob_store::{
    Fence, SourceRange, blob_exists, check_source, check_whole_source, corrupt_source, missing_source,
};
use goldfleet_ports::error::PortResult;
use jiff::Timestamp;

use super::arm::ResourceManagerState;
use super::errors;
use super::extents::Extents;
use super::limits::{Limit, LimitMode};
use super::pipe::{Pipe, SimNanos, nanos};

/// The index of a region.
pub(super) type RegionId = usize;
/// The index of an account.
pub(super) type AccountId = usize;
/// The index of a link.
pub(super) type LinkId = usize;
/// The index of a blob. It is not reused after the blob is deleted.
pub(super) type BlobId = usize;

/// The whole state of a modelled cloud.
pub(super) struct CloudState {
    pub(super) pace: LimitMode,
    /// The region of the clients, and of accounts that were not placed.
    pub(super) home: RegionId,
    pub(super) regions: Vec<Region>,
    region_ids: HashMap<Region, RegionId>,
    pub(super) accounts: Vec<Account>,
    account_ids: HashMap<AccountName, AccountId>,
    pub(super) links: Vec<Link>,
    link_ids: HashMap<(RegionId, RegionId), LinkId>,
    pub(super) blobs: Vec<Option<Blob>>,
    /// The last version that was assigned to a blob.
    versions: u64,
    pub(super) arm: ResourceManagerState,
    /// The number of served requests, by kind.
    pub(super) requests_served: BTreeMap<&'static str, u64>,
    /// The number of throttled requests, by limit.
    pub(super) requests_refused: BTreeMap<Limit, u64>,
    /// The backlog at which a blob or account throttles, in nanoseconds.
    pub(super) max_backlog: u64,
    /// The average wait that a throttling response requests.
    pub(super) retry_after: Duration,
    /// The duration of a request without its round trips and bytes, in nanoseconds.
    pub(super) request: u64,
    rng: u64,
    /// Accounts that do not respond to services that read from them, with the time from which this applies.
    pub(super) stalled: HashMap<AccountName, SimNanos>,
}

/// A storage account.
pub(super) struct Account {
    pub(super) name: AccountName,
    pub(super) region: RegionId,
    /// The subscription of the account, if it is known.
    pub(super) owner: Option<SubscriptionId>,
    pub(super) ingress: Pipe,
    pub(super) egress: Pipe,
    pub(super) requests: Pipe,
    pub(super) copies: Pipe,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    pub(super) bytes_abroad: u64,
    containers: HashMap<ContainerName, HashMap<String, BlobId>>,
}

/// The connection from one region to another, or inside one region.
pub(super) struct Link {
    pub(super) from: RegionId,
    pub(super) to: RegionId,
    pub(super) pipe: Pipe,
    /// The round-trip time in nanoseconds.
    pub(super) round_trip: u64,
    pub(super) copied: u64,
    pub(super) sent: u64,
}

/// A blob.
pub(super) struct Blob {
    pub(super) address: BlobAddress,
    pub(super) account: AccountId,
    pub(super) length: u64,
    pub(super) content: Arc<Extents>,
    pub(super) metadata: BTreeMap<String, String>,
    /// The sequence number of a page blob. None for a block blob.
    pub(super) fence: Option<Fence>,
    pub(super) version: u64,
    pub(super) modified: Timestamp,
    pub(super) requests: Pipe,
    /// The bytes in and out. A block blob has no limit.
    pub(super) bytes: Pipe,
}

impl Blob {
    pub(super) fn etag(&self) -> ETag {
        ETag(format!("\"0x{:X}\"", self.version))
    }
}

impl CloudState {
    pub(super) fn new(pace: LimitMode, home: &Region, seed: u64) -> Self {
        let (behind, retry_after) = pace.server_busy();
        let request = nanos(pace.request());
        let mut world = Self {
            home: 0,
            regions: Vec::new(),
            region_ids: HashMap::new(),
            accounts: Vec::new(),
            account_ids: HashMap::new(),
            links: Vec::new(),
            link_ids: HashMap::new(),
            blobs: Vec::new(),
            versions: 0,
            arm: ResourceManagerState::default(),
            requests_served: BTreeMap::new(),
            requests_refused: BTreeMap::new(),
            max_backlog: nanos(behind),
            retry_after,
            request,
            rng: seed,
            stalled: HashMap::new(),
            pace,
        };
        world.home = world.region(home);
        world
    }

    pub(super) fn region(&mut self, region: &Region) -> RegionId {
        if let Some(id) = self.region_ids.get(region) {
            return *id;
        }
        let id = self.regions.len();
        self.regions.push(region.clone());
        self.region_ids.insert(region.clone(), id);
        id
    }

    /// The index of an account. An account that was not placed is in the region of the clients.
    pub(super) fn account(&mut self, name: &AccountName) -> AccountId {
        match self.account_ids.get(name) {
            Some(id) => *id,
            None => self.add_account(name, self.home, None),
        }
    }

    /// Sets the region and the subscription of an account.
    pub(super) fn place_account(&mut self, name: &AccountName, region: &Region, owner: Option<SubscriptionId>) {
        let region = self.region(region);
        match self.account_ids.get(name) {
            Some(id) => {
                let rates = self.pace.account(name, &self.regions[region]);
                let account = &mut self.accounts[*id];
                (account.region, account.owner) = (region, owner.or(account.owner));
                account.ingress = Pipe::new(rates.ingress);
                account.egress = Pipe::new(rates.egress);
                account.requests = Pipe::new(rates.requests);
            }
            None => {
                self.add_account(name, region, owner);
            }
        }
    }

    fn add_account(&mut self, name: &AccountName, region: RegionId, owner: Option<SubscriptionId>) -> AccountId {
        let rates = self.pace.account(name, &self.regions[region]);
        let id = self.accounts.len();
        self.accounts.push(Account {
            name: name.clone(),
            region,
            owner,
            ingress: Pipe::new(rates.ingress),
            egress: Pipe::new(rates.egress),
            requests: Pipe::new(rates.requests),
            copies: Pipe::new(self.pace.copies_inside()),
            bytes_in: 0,
            bytes_out: 0,
            bytes_abroad: 0,
            containers: HashMap::new(),
        });
        self.account_ids.insert(name.clone(), id);
        id
    }

    /// The subscription and region of an account, if they were set.
    pub(super) fn account_placement(&self, name: &AccountName) -> Option<(SubscriptionId, &Region)> {
        let account = &self.accounts[*self.account_ids.get(name)?];
        Some((account.owner?, &self.regions[account.region]))
    }

    pub(super) fn link(&mut self, from: RegionId, to: RegionId) -> LinkId {
        if let Some(id) = self.link_ids.get(&(from, to)) {
            return *id;
        }
        let (here, there) = (&self.regions[from], &self.regions[to]);
        let pipe = Pipe::new(self.pace.wan(here, there));
        let round_trip = nanos(self.pace.round_trip(here, there));
        let id = self.links.len();
        self.links.push(Link { from, to, pipe, round_trip, copied: 0, sent: 0 });
        self.link_ids.insert((from, to), id);
        id
    }

    /// The link from the clients to an account.
    pub(super) fn link_to(&mut self, account: AccountId) -> LinkId {
        self.link(self.home, self.accounts[account].region)
    }

    /// The link from an account to the clients.
    pub(super) fn link_from(&mut self, account: AccountId) -> LinkId {
        self.link(self.accounts[account].region, self.home)
    }

    pub(super) fn ensure_container(&mut self, container: &Container) {
        let account = self.account(&container.account);
        self.accounts[account].containers.entry(container.container.clone()).or_default();
    }

    /// The blobs of a container by name. None if the container does not exist.
    pub(super) fn names(&self, container: &Container) -> Option<&HashMap<String, BlobId>> {
        self.accounts[*self.account_ids.get(&container.account)?].containers.get(&container.container)
    }

    /// The blob at an address. None if it does not exist.
    pub(super) fn find(&self, address: &BlobAddress) -> Option<BlobId> {
        self.names(&address.container)?.get(&address.name).copied()
    }

    /// A blob by its index. None if it was deleted.
    pub(super) fn blob(&self, id: BlobId) -> Option<&Blob> {
        self.blobs.get(id)?.as_ref()
    }

    /// Checks that a blob can be created at an address.
    ///
    /// # Errors
    /// `NotFound` if the container does not exist, `AlreadyExists` if the blob exists.
    pub(super) fn is_free(&self, address: &BlobAddress) -> PortResult<()> {
        match self.names(&address.container) {
            None => Err(errors::no_container(&address.container)),
            Some(names) if names.contains_key(&address.name) => Err(blob_exists(address)),
            Some(_) => Ok(()),
        }
    }

    /// Creates a blob. Fails if it exists.
    ///
    /// # Errors
    /// The errors of [`CloudState::is_free`].
    pub(super) fn add(&mut self, address: &BlobAddress, made: NewBlob, modified: Timestamp) -> PortResult<()> {
        self.is_free(address)?;
        let id = self.blobs.len();
        let version = self.next_version();
        let bytes = if made.is_page_blob { self.pace.page_blob() } else { None };
        let account = self.account(&address.container.account);
        self.blobs.push(Some(Blob {
            address: address.clone(),
            account,
            length: made.length,
            content: made.content,
            metadata: made.metadata,
            fence: made.is_page_blob.then_some(Fence(version)),
            version,
            modified,
            requests: Pipe::new(self.pace.blob_requests()),
            bytes: Pipe::new(bytes),
        }));
        let names = self.accounts[account].containers.entry(address.container.container.clone()).or_default();
        names.insert(address.name.clone(), id);
        Ok(())
    }

    /// Removes a blob.
    pub(super) fn remove(&mut self, address: &BlobAddress) {
        let account = self.account(&address.container.account);
        let names = self.accounts[account].containers.get_mut(&address.container.container);
        if let Some(id) = names.and_then(|names| names.remove(&address.name)) {
            self.blobs[id] = None;
        }
    }

    /// Gives a blob a new version.
    pub(super) fn renew(&mut self, id: BlobId, modified: Timestamp) -> Option<&mut Blob> {
        let version = self.next_version();
        let blob = self.blobs.get_mut(id)?.as_mut()?;
        (blob.version, blob.modified) = (version, modified);
        Some(blob)
    }

    fn next_version(&mut self) -> u64 {
        self.versions += 1;
        self.versions
    }

    /// The source of a copy that must be a whole blob.
    ///
    /// # Errors
    /// The errors of [`CloudState::source`], and `Corrupt` if the blob is longer than the range.
    pub(super) fn whole_source(&self, source: &SourceRange) -> PortResult<BlobId> {
        let id = self.source(source)?;
        let length = self.blob(id).map_or(0, |blob| blob.length);
        check_whole_source(source, length).map(|()| id)
    }

    /// The source of a copy.
    ///
    /// # Errors
    /// `NotFound` if the source does not exist, `Corrupt` if its checksum differs or it is too short.
    pub(super) fn source(&self, source: &SourceRange) -> PortResult<BlobId> {
        let Some(id) = self.find(&source.blob) else { return Err(missing_source(&source.blob)) };
        let Some(blob) = self.blob(id) else { return Err(missing_source(&source.blob)) };
        check_source(source, blob.length)?;
        match blob.content.crc64(&source.range) {
            Some(crc64) if crc64 == source.crc64 => Ok(id),
            Some(crc64) => Err(corrupt_source(source, &format!("the checksum is {crc64:016x}"))),
            None => Err(errors::bytes_not_stored(&source.blob)),
        }
    }

    /// A pseudo-random number from 0 to 1, which is the same in every run with the same seed. The algorithm is
    /// `SplitMix64`.
    pub(super) fn random_fraction(&mut self) -> f64 {
        self.rng = self.rng.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.rng;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        f64::from(u32::try_from(mixed >> 32).unwrap_or(0)) / f64::from(u32::MAX)
    }
}

/// A new blob.
#[derive(Default)]
pub(super) struct NewBlob {
    pub(super) length: u64,
    pub(super) content: Arc<Extents>,
    pub(super) metadata: BTreeMap<String, String>,
    /// Whether it is a page blob. Otherwise it is a block blob.
    pub(super) is_page_blob: bool,
}
