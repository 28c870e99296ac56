//! Names of the resources that a sync creates.

use std::fmt;
use std::str::FromStr;

use goldfleet_model::ids::{InvalidName, JobId, Region};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::id::{GroupRef, SnapshotId};
use crate::snapshot::Snapshot;
use crate::tags::Role;

/// The largest number of characters in the name of a snapshot. Source: `Snapshots_CreateOrUpdate`, DiskRP 2025-01-02:
/// letters, digits, '_' and '-', at most 80.
pub const MAX_LENGTH: usize = 80;

/// The number of hexadecimal digits of a hash that is a whole name.
const LONG_HASH: usize = 20;
/// The number of hexadecimal digits of a hash that makes a name unique.
const SHORT_HASH: usize = 12;

/// The name of a replica: the name of its source. If the service does not permit to create a snapshot with that name,
/// characters are replaced, and a hash of the source's id makes the name unique. So two sources of a group never share
/// a name.
#[must_use]
pub fn of_replica(source: &SnapshotId) -> String {
    permitted(&source.name, &["replica", &source.key()])
}

/// The name of a snapshot or disk that a target receives: the name of its managed image. If the service does not permit
/// that name, characters are replaced, and a hash makes the name unique.
#[must_use]
pub fn of_sink(image: &str) -> String {
    permitted(image, &["sink", image])
}

/// A name that the service permits, from a name that it may not permit. `identity` makes a changed name unique.
fn permitted(name: &str, identity: &[&str]) -> String {
    if is_valid(name) {
        return name.to_owned();
    }
    let readable: String = name.chars().map(|c| if is_allowed(c) { c } else { '-' }).collect();
    let kept = readable.len().min(MAX_LENGTH - SHORT_HASH - 1);
    format!("{}-{}", &readable[..kept], hash(identity, SHORT_HASH))
}

/// A template for names of replicas: text with the fields `{name}`, the name of the source, `{date}`, the day on which
/// the source was created, such as `20261129`, and `{region}`, the region of the replica.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ReplicaName(String);

impl ReplicaName {
    const FIELDS: [&'static str; 3] = ["{name}", "{date}", "{region}"];

    /// The name of the replica of a source in a region. As in [`of_replica`], a name that the service does not permit
    /// is replaced by one that it permits.
    #[must_use]
    pub fn fill(&self, source: &Snapshot, region: &Region) -> String {
        let date = source.created.strftime("%Y%m%d").to_string();
        let name = self.0.replace("{name}", &source.id.name).replace("{date}", &date);
        permitted(&name.replace("{region}", region.as_str()), &["replica", &source.id.key()])
    }
}

impl FromStr for ReplicaName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let plain = Self::FIELDS.iter().fold(text.to_owned(), |text, field| text.replace(field, "x"));
        let rule =
            "use {name}, {date} and {region}, with letters, digits, '-' or '_' between them, such as {name}-copy";
        let invalid = || InvalidName { what: "template of replica names", given: text.to_owned(), rule };
        if is_valid(&plain) { Ok(Self(text.to_owned())) } else { Err(invalid()) }
    }
}

impl TryFrom<String> for ReplicaName {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, InvalidName> {
        text.parse()
    }
}

impl From<ReplicaName> for String {
    fn from(name: ReplicaName) -> Self {
        name.0
    }
}

impl fmt::Display for ReplicaName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of a staged replica. It is the same in every run, so a later run finds it.
///
/// `source` is the unique id of the source snapshot.
#[must_use]
pub fn of_staged(fleet: Uuid, source: &str, group: &GroupRef, region: &Region) -> String {
    of_role(Role::Replica, &[&fleet.to_string(), source, &group.key(), region.as_str()])
}

/// The name of a temporary resource. Each job has its own, so a job never deletes what another one uses. The successor
/// of a worker finds what its predecessor created. `part` distinguishes the temporaries of one source.
#[must_use]
pub fn of_temporary(fleet: Uuid, job: &JobId, source: &str, group: &GroupRef, region: &Region, part: &str) -> String {
    let (fleet, group) = (fleet.to_string(), group.key());
    of_role(Role::Temporary, &[&fleet, source, &group, region.as_str(), job.as_str(), part])
}

/// The name of the golden snapshot of a disk in a region. All jobs of a version share it. `version` has the parts that
/// identify the version and the disk.
#[must_use]
pub fn of_golden(fleet: Uuid, version: &[&str], group: &GroupRef, region: &Region) -> String {
    let (fleet, group) = (fleet.to_string(), group.key());
    let parts: Vec<&str> =
        [&fleet, group.as_str(), region.as_str()].into_iter().chain(version.iter().copied()).collect();
    of_role(Role::Golden, &parts)
}

fn of_role(role: Role, parts: &[&str]) -> String {
    format!("gf-{}-{}", role.as_str(), hash(parts, LONG_HASH))
}

/// Whether the service permits to create a snapshot with this name.
#[must_use]
pub fn is_valid(name: &str) -> bool {
    (1..=MAX_LENGTH).contains(&name.len()) && name.chars().all(is_allowed)
}

fn is_allowed(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '-' || c == '_'
}

/// The first hexadecimal digits of the hash of some texts. The lengths separate them.
pub(crate) fn hash(parts: &[&str], digits: usize) -> String {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    hasher.finalize().to_hex()[..digits].to_owned()
}
