//! `[[sync]]`: which snapshots are replicated, to where, and what may be deleted.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use goldfleet_model::ids::{Region, ResourceGroup, SubscriptionId};
use goldfleet_model::tenants::Tenants;
use goldfleet_snapshots::id::GroupRef;
use goldfleet_snapshots::rules::{DeletePolicy, Destination, RuleError, Rules, Speed};
use goldfleet_snapshots::select::{InvalidPattern, Pattern, Selection};
use jiff::SignedDuration;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::values::HumanDuration;

/// The largest number of characters in the name of a sync. The name of its lock and of its row contain it.
const MAX_NAME: usize = 40;

/// The name of the rules of copies on request. Their replicas belong to no sync of the configuration.
pub const RESERVED_NAME: &str = "copy";

/// One `[[sync]]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sync {
    /// The name: up to 40 letters, digits and hyphens.
    pub name: String,
    /// The group of the source snapshots.
    pub from: GroupRef,
    /// The tags that a snapshot must have, with a glob for each value.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// Tags that a snapshot must not have, with a glob for each value.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub exclude_tags: BTreeMap<String, String>,
    /// Globs of which the name must match one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// Globs of which the name must match none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude_names: Vec<String>,
    /// Globs of which the family or the disk must match one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub families: Vec<String>,
    /// The minimum age.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_age: Option<HumanDuration>,
    /// The maximum age.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age: Option<HumanDuration>,
    /// Where replicas are created.
    pub to: Vec<SyncDestination>,
    /// Whether replicas are deleted.
    #[serde(default)]
    pub delete: DeletePolicy,
    /// The number of newest replicas to keep per family and destination.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep: Option<NonZeroU32>,
    /// The largest number of replicas that a run deletes.
    #[serde(default = "default_max_deletes")]
    pub max_deletes: u32,
    /// The minimum time between the first run that finds a source absent and the run that deletes its replica.
    #[serde(default = "default_grace")]
    pub grace: HumanDuration,
    /// The interval of scheduled runs. None runs only on command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every: Option<HumanDuration>,
    /// Whether replicas get a lock against deletion.
    #[serde(default)]
    pub lock: bool,
    /// The speed of copies between regions.
    #[serde(default)]
    pub speed: Speed,
    /// The group for temporaries of full snapshots that are copied to another region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scratch: Option<GroupRef>,
}

/// A destination of a sync.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SyncDestination {
    /// The subscription.
    pub subscription: SubscriptionId,
    /// The region.
    pub region: Region,
    /// The resource group.
    pub resource_group: ResourceGroup,
    /// The id of the disk encryption set of the replicas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_encryption_set: Option<String>,
    /// The id of the disk access resource of the replicas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_access: Option<String>,
}

fn default_max_deletes() -> u32 {
    5
}

fn default_grace() -> HumanDuration {
    HumanDuration::seconds(24 * 60 * 60)
}

impl Sync {
    /// The rules of the sync for a fleet, with the tenants of subscriptions, without results of probes.
    ///
    /// # Errors
    /// [`InvalidPattern`] if a glob is not valid. A configuration that was loaded has no such glob.
    pub fn rules(&self, fleet: Uuid, tenants: &Tenants) -> Result<Rules, InvalidPattern> {
        Ok(Rules {
            name: self.name.clone(),
            fleet,
            source: self.from.clone(),
            selection: Selection {
                tags: values(&self.tags)?,
                exclude_tags: values(&self.exclude_tags)?,
                names: names(&self.names)?,
                exclude_names: names(&self.exclude_names)?,
                families: names(&self.families)?,
                min_age: self.min_age.map(signed),
                max_age: self.max_age.map(signed),
            },
            destinations: self
                .to
                .iter()
                .map(|to| to.destination(tenants.differ(&self.from.subscription, &to.subscription)))
                .collect(),
            scratch: self.scratch.clone(),
            delete: self.delete,
            keep: self.keep,
            max_deletes: self.max_deletes,
            grace: signed(self.grace),
            lock: self.lock,
            speed: self.speed,
            replica_name: None,
            measured: BTreeMap::new(),
        })
    }

    /// The faults in the section: the key and a description with what to do.
    pub(super) fn faults(&self) -> Vec<(&'static str, String)> {
        let mut faults: Vec<(&str, String)> = self.pattern_faults();
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        if !(1..=MAX_NAME).contains(&self.name.len()) || !self.name.bytes().all(is_name) {
            faults.push(("name", format!("{:?}: use 1 to {MAX_NAME} letters, digits and hyphens", self.name)));
        }
        if self.name.eq_ignore_ascii_case(RESERVED_NAME) {
            let message =
                format!("{:?} is the name of copies by 'goldfleet snapshots copy': use another one", self.name);
            faults.push(("name", message));
        }
        if self.min_age.zip(self.max_age).is_some_and(|(min, max)| min > max) {
            faults.push(("max_age", "less than min_age, so no snapshot is selected: swap them".to_owned()));
        }
        faults
    }

    /// The fault of a section without filters.
    pub(super) fn selection_fault(&self) -> Option<(&'static str, String)> {
        let message = "it selects every snapshot: set 'tags', 'names' or 'families'; names = [\"*\"] selects all";
        let is_open = self.tags.is_empty() && self.names.is_empty() && self.families.is_empty();
        is_open.then(|| ("name", message.to_owned()))
    }

    /// The rules that contradict each other. The globs are valid.
    pub(super) fn contradictions(&self) -> Vec<(&'static str, String)> {
        let Ok(rules) = self.rules(Uuid::nil(), &Tenants::default()) else { return Vec::new() };
        let key = |error: &RuleError| match error {
            RuleError::KeepWithoutMirror => "keep",
            RuleError::NegativeGrace => "grace",
            _ => "to",
        };
        rules.check().iter().map(|error| (key(error), error.to_string())).collect()
    }

    fn pattern_faults(&self) -> Vec<(&'static str, String)> {
        let globs = [("names", &self.names), ("exclude_names", &self.exclude_names), ("families", &self.families)];
        let of_names = globs.into_iter().filter_map(|(key, globs)| Some((key, names(globs).err()?)));
        let tags = [("tags", &self.tags), ("exclude_tags", &self.exclude_tags)];
        let of_tags = tags.into_iter().filter_map(|(key, globs)| Some((key, values(globs).err()?)));
        of_names.chain(of_tags).map(|(key, error)| (key, error.to_string())).collect()
    }
}

impl SyncDestination {
    /// The resource group of the replicas.
    #[must_use]
    pub fn group(&self) -> GroupRef {
        GroupRef { subscription: self.subscription, resource_group: self.resource_group.clone() }
    }

    fn destination(&self, other_tenant: bool) -> Destination {
        Destination {
            group: self.group(),
            region: self.region.clone(),
            encryption_set: self.disk_encryption_set.clone(),
            other_tenant,
            disk_access: self.disk_access.clone(),
        }
    }
}

fn names(globs: &[String]) -> Result<Vec<Pattern>, InvalidPattern> {
    globs.iter().map(|glob| Pattern::of_name(glob)).collect()
}

fn values(globs: &BTreeMap<String, String>) -> Result<BTreeMap<String, Pattern>, InvalidPattern> {
    globs.iter().map(|(name, glob)| Ok((name.clone(), Pattern::of_value(glob)?))).collect()
}

/// A configured duration has at most a year, so it fits.
fn signed(duration: HumanDuration) -> SignedDuration {
    SignedDuration::try_from(duration.get()).unwrap_or(SignedDuration::MAX)
}
