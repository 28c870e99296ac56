//! One destination in a comparison.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;

use crate::id::SnapshotId;
use crate::listing::Listing;
use crate::plan::{Method, Note, Severity};
use crate::replica::{Ours, Owner, owner_at};
use crate::rules::{Destination, Rules};
use crate::snapshot::{Condition, Snapshot};
use crate::tags::ReplicaTags;

/// A snapshot of this sync at a destination.
pub(super) struct Replica<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) ours: Ours,
    pub(super) condition: Condition,
}

impl Replica<'_> {
    pub(super) fn tags(&self) -> &ReplicaTags {
        &self.ours.tags
    }

    pub(super) fn is_complete(&self) -> bool {
        self.condition == Condition::Complete
    }

    pub(super) fn has_failed(&self) -> bool {
        matches!(self.condition, Condition::Failed { .. })
    }

    pub(super) fn is_staged(&self) -> bool {
        self.tags().staged_for.is_some()
    }

    /// The place of its source in the order of the family.
    pub(super) fn order(&self) -> (Timestamp, &str) {
        (self.tags().source_time, &self.tags().source)
    }

    /// The id that its source has or had, if the sync still reads the group of the source.
    pub(super) fn source_id(&self, rules: &Rules) -> Option<SnapshotId> {
        self.tags().source_in(&rules.source)
    }
}

/// What has a name at a destination.
pub(super) enum Holder<'s, 'a> {
    /// Nothing.
    Nobody,
    /// A snapshot of this sync.
    Ours(&'s Replica<'a>),
    /// Something that is never touched, for this reason.
    Other(String),
}

/// A destination with its snapshots.
pub(super) struct Side<'a> {
    pub(super) index: usize,
    pub(super) destination: &'a Destination,
    listing: &'a Listing,
    pub(super) replicas: Vec<Replica<'a>>,
    /// The indexes of replicas by the unique id of their source.
    by_source: HashMap<String, Vec<usize>>,
    /// The indexes of replicas by name in lower case.
    by_name: HashMap<String, usize>,
    /// The indexes of replicas that did not fail, by the family of their source.
    families: BTreeMap<String, Vec<usize>>,
}

impl<'a> Side<'a> {
    pub(super) fn new(index: usize, rules: &'a Rules, listing: &'a Listing) -> Self {
        let destination = &rules.destinations[index];
        let mut side = Self {
            index,
            destination,
            listing,
            replicas: Vec::new(),
            by_source: HashMap::new(),
            by_name: HashMap::new(),
            families: BTreeMap::new(),
        };
        for (name, snapshot) in &listing.snapshots {
            if let Owner::Ours(ours) = owner_at(snapshot, rules, destination) {
                let condition = ours.condition(snapshot);
                side.add(name, Replica { snapshot, ours: *ours, condition });
            }
        }
        side
    }

    fn add(&mut self, name: &str, replica: Replica<'a>) {
        let index = self.replicas.len();
        self.by_source.entry(replica.tags().source.clone()).or_default().push(index);
        self.by_name.insert(name.to_owned(), index);
        if !replica.has_failed() {
            self.families.entry(replica.tags().source_family.clone()).or_default().push(index);
        }
        self.replicas.push(replica);
    }

    /// The replicas of a source.
    pub(super) fn of_source(&self, unique_id: &str) -> impl Iterator<Item = &Replica<'a>> {
        self.by_source.get(unique_id).into_iter().flatten().map(|index| &self.replicas[*index])
    }

    /// The replicas of a family whose copy did not fail.
    pub(super) fn of_family(&self, family: &str) -> impl Iterator<Item = &Replica<'a>> {
        self.families.get(family).into_iter().flatten().map(|index| &self.replicas[*index])
    }

    /// What has a name.
    pub(super) fn holder(&self, name: &str, rules: &Rules) -> Holder<'_, 'a> {
        let key = name.to_ascii_lowercase();
        if let Some(index) = self.by_name.get(&key) {
            return Holder::Ours(&self.replicas[*index]);
        }
        if let Some(item) =
            self.listing.set_aside.iter().find(|item| item.id.as_ref().is_some_and(|id| id.name_key() == key))
        {
            return Holder::Other(format!("it cannot be read: {}", item.error));
        }
        match self.listing.snapshots.get(&key).map(|snapshot| owner_at(snapshot, rules, self.destination)) {
            None => Holder::Nobody,
            Some(Owner::OtherSync(sync)) => Holder::Other(format!("sync {sync:?} created it")),
            Some(Owner::Foreign(reason)) => Holder::Other(reason.to_owned()),
            Some(Owner::Ours(_)) => Holder::Other("it is listed twice".to_owned()),
        }
    }

    /// Whether an item could not be identified. Then nothing is deleted.
    pub(super) fn has_unidentified(&self) -> bool {
        self.listing.has_unidentified()
    }

    /// A note about a snapshot at this destination.
    pub(super) fn note(&self, code: &'static str, severity: Severity, id: &SnapshotId, message: String) -> Note {
        Note { code, severity, destination: Some(self.index), snapshot: Some(id.clone()), message }
    }

    /// How a source is copied to this destination.
    ///
    /// # Errors
    /// The code and the reason if it cannot be copied.
    pub(super) fn method(&self, source: &Snapshot, rules: &Rules) -> Result<Method, (&'static str, String)> {
        let Destination { group, region, encryption_set, .. } = self.destination;
        match encryption_set {
            None if source.encryption.has_customer_key() => {
                let message = "a key of yours encrypts the source: set 'disk_encryption_set' of the destination";
                return Err(("encryption-set-missing", message.to_owned()));
            }
            Some(set) if !is_in_subscription(set, &group.subscription.to_string()) => {
                let message = "the disk encryption set of the destination is in another subscription than its replicas";
                return Err(("des-elsewhere", message.to_owned()));
            }
            _ => {}
        }
        if self.destination.other_tenant {
            return crate::export::check(source).map(|()| Method::Export);
        }
        let measured = rules.measured.get(&(source.region.clone(), self.index)).copied().unwrap_or_default();
        if encryption_set.is_some() {
            measured.check_encryption()?;
        }
        let same_region = source.region == *region;
        let same_subscription = source.id.group.subscription == group.subscription;
        if !same_region && !same_subscription {
            measured.check_across()?;
        }
        match (source.incremental, same_region) {
            (true, true) if !same_subscription => measured.within_region(),
            (_, true) => Ok(Method::Copy),
            (true, false) => Ok(Method::CopyStart),
            (false, false) => match &rules.scratch {
                Some(scratch)
                    if source.encryption.has_customer_key() && scratch.subscription != source.id.group.subscription =>
                {
                    let message = "the disk encryption set of the source cannot be used in the subscription of 'scratch': \
                                   name a group in the subscription of the source";
                    Err(("des-elsewhere", message.to_owned()))
                }
                Some(_) => Ok(Method::Scratch),
                None => {
                    let message = "a full snapshot is copied to another region through a temporary disk: set 'scratch' of \
                               the sync";
                    Err(("scratch-missing", message.to_owned()))
                }
            },
        }
    }
}

fn is_in_subscription(id: &str, subscription: &str) -> bool {
    let mut parts = id.split('/').skip(1);
    parts.next().is_some_and(|word| word.eq_ignore_ascii_case("subscriptions"))
        && parts.next().is_some_and(|found| found.eq_ignore_ascii_case(subscription))
}
