//! The tags from which a resource proves what it is.

use std::collections::BTreeMap;

use goldfleet_model::ids::JobId;
use goldfleet_model::image::ImageTags;
use jiff::Timestamp;
use uuid::Uuid;

use crate::id::{GroupRef, SnapshotId};
use crate::snapshot::{Snapshot, tag};

/// Tag: the fleet that created the resource.
pub const FLEET: &str = "goldfleet-fleet";
/// Tag: what the resource is for: see [`Role`].
pub const ROLE: &str = "goldfleet-role";
/// Tag: the sync that created the resource.
pub const SYNC: &str = "goldfleet-sync";
/// Tag: the unique id of the source snapshot.
pub const SOURCE: &str = "goldfleet-source";
/// Tag: the name of the source snapshot.
pub const SOURCE_NAME: &str = "goldfleet-source-name";
/// Tag: a hash of the source snapshot's subscription and resource group. The ids are longer than a tag may be.
pub const SOURCE_GROUP: &str = "goldfleet-source-group";
/// Tag: when the source snapshot was created.
pub const SOURCE_TIME: &str = "goldfleet-source-time";
/// Tag: the family of the source snapshot. The service gives the replicas of a family another id.
pub const SOURCE_FAMILY: &str = "goldfleet-source-family";
/// Tag: the unique id of the snapshot that was copied, if that was not the source itself.
pub const VIA: &str = "goldfleet-via";
/// Tag: the name that the replica gets as soon as it is free.
pub const STAGED_FOR: &str = "goldfleet-staged-for";
/// Tag: the job that created the resource.
pub const JOB: &str = ImageTags::JOB;
/// The beginning of the names of all tags that goldfleet sets. They are not copied from a source.
pub const PREFIX: &str = "goldfleet-";

/// The number of tags that a resource can have. Source: Azure, tag resources.
pub const MAX_TAGS: usize = 50;

/// What a resource of goldfleet is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The golden snapshot of a region.
    Golden,
    /// A copy of a source snapshot.
    Replica,
    /// A resource that its job deletes.
    Temporary,
    /// A copy of a disk of a machine.
    Clone,
    /// What a target receives: the snapshot or disk of an image version.
    Sink,
}

impl Role {
    /// The value of the tag.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Golden => "golden",
            Self::Replica => "replica",
            Self::Temporary => "temporary",
            Self::Clone => "clone",
            Self::Sink => "sink",
        }
    }

    /// The role in the tags of a resource.
    #[must_use]
    pub fn in_tags(tags: &BTreeMap<String, String>) -> Option<Self> {
        let found = tag(tags, ROLE)?;
        let all = [Self::Golden, Self::Replica, Self::Temporary, Self::Clone, Self::Sink];
        all.into_iter().find(|role| role.as_str() == found)
    }
}

/// The tags of a replica. With them, the replica alone proves which fleet and sync created it, and of which snapshot it
/// is a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaTags {
    /// The fleet.
    pub fleet: Uuid,
    /// The sync.
    pub sync: String,
    /// The unique id of the source, in lower case.
    pub source: String,
    /// The name of the source.
    pub source_name: String,
    /// The hash of the source's group: see [`group_hash`].
    pub source_group: String,
    /// When the source was created.
    pub source_time: Timestamp,
    /// The family of the source.
    pub source_family: String,
    /// The unique id of the snapshot that was copied, if that was not the source.
    pub via: Option<String>,
    /// The final name, if this is a staged replica.
    pub staged_for: Option<String>,
}

impl ReplicaTags {
    /// The tags of a replica of this source.
    #[must_use]
    pub fn of(source: &Snapshot, fleet: Uuid, sync: &str) -> Self {
        Self {
            fleet,
            sync: sync.to_owned(),
            source: source.unique_id.clone(),
            source_name: source.id.name.clone(),
            source_group: group_hash(&source.id.group),
            source_time: source.created,
            source_family: source.family(),
            via: None,
            staged_for: None,
        }
    }

    /// Reads the tags of a replica. None if one is missing or not valid, or if the role is another one.
    #[must_use]
    pub fn in_tags(tags: &BTreeMap<String, String>) -> Option<Self> {
        let text = |name: &str| tag(tags, name).map(str::to_owned);
        (Role::in_tags(tags)? == Role::Replica).then_some(())?;
        Some(Self {
            fleet: tag(tags, FLEET)?.parse().ok()?,
            sync: text(SYNC)?,
            source: tag(tags, SOURCE)?.to_ascii_lowercase(),
            source_name: text(SOURCE_NAME)?,
            source_group: text(SOURCE_GROUP)?,
            source_time: tag(tags, SOURCE_TIME)?.parse().ok()?,
            source_family: text(SOURCE_FAMILY)?,
            via: tag(tags, VIA).map(str::to_ascii_lowercase),
            staged_for: text(STAGED_FOR),
        })
    }

    /// The tags as a map for a resource that this job creates.
    #[must_use]
    pub fn to_map(&self, job: &JobId) -> BTreeMap<String, String> {
        let fixed = [
            (FLEET, self.fleet.to_string()),
            (ROLE, Role::Replica.as_str().to_owned()),
            (SYNC, self.sync.clone()),
            (SOURCE, self.source.clone()),
            (SOURCE_NAME, self.source_name.clone()),
            (SOURCE_GROUP, self.source_group.clone()),
            (SOURCE_TIME, self.source_time.to_string()),
            (SOURCE_FAMILY, self.source_family.clone()),
            (JOB, job.to_string()),
        ];
        let optional = [(VIA, &self.via), (STAGED_FOR, &self.staged_for)];
        let optional = optional.into_iter().filter_map(|(name, value)| Some((name, value.clone()?)));
        fixed.into_iter().chain(optional).map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// The unique id of the snapshot that the service copied.
    #[must_use]
    pub fn copied(&self) -> &str {
        self.via.as_deref().unwrap_or(&self.source)
    }

    /// The id of the source, if it is in this group.
    #[must_use]
    pub fn source_in(&self, group: &GroupRef) -> Option<SnapshotId> {
        (self.source_group == group_hash(group)).then(|| SnapshotId::new(group.clone(), &self.source_name))
    }
}

/// The tags of a temporary resource of a job.
#[must_use]
pub fn of_temporary(fleet: Uuid, job: &JobId, source: &str) -> BTreeMap<String, String> {
    let tags = [
        (FLEET, fleet.to_string()),
        (ROLE, Role::Temporary.as_str().to_owned()),
        (SOURCE, source.to_owned()),
        (JOB, job.to_string()),
    ];
    tags.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// The tags of the golden snapshot of a disk of an image version. `content` identifies the content of the disk.
#[must_use]
pub fn of_golden(fleet: Uuid, image: &ImageTags, content: &str) -> BTreeMap<String, String> {
    let tags = [(FLEET, fleet.to_string()), (ROLE, Role::Golden.as_str().to_owned()), (SOURCE, content.to_owned())];
    let tags = tags.into_iter().map(|(name, value)| (name.to_owned(), value));
    image.to_map().into_iter().chain(tags).collect()
}

/// Whether a resource with these tags is a temporary one of this fleet.
#[must_use]
pub fn is_temporary_of(tags: &BTreeMap<String, String>, fleet: Uuid) -> bool {
    let is_ours = tag(tags, FLEET).and_then(|text| text.parse().ok()) == Some(fleet);
    is_ours && Role::in_tags(tags) == Some(Role::Temporary)
}

/// Whether goldfleet sets the tag with this name.
#[must_use]
pub fn is_reserved(name: &str) -> bool {
    name.get(..PREFIX.len()).is_some_and(|start| start.eq_ignore_ascii_case(PREFIX))
}

/// 20 hexadecimal digits that identify a resource group.
#[must_use]
pub fn group_hash(group: &GroupRef) -> String {
    blake3::hash(group.key().as_bytes()).to_hex()[..20].to_owned()
}

/// Whether `found` has all tags of goldfleet that `own` has, with the same values.
#[must_use]
pub fn has_reserved(found: &BTreeMap<String, String>, own: &BTreeMap<String, String>) -> bool {
    own.iter().filter(|(name, _)| is_reserved(name)).all(|(name, value)| tag(found, name) == Some(value))
}

/// Whether `own` has all these tags, and `found` has them with the same values.
#[must_use]
pub fn agree(found: &BTreeMap<String, String>, own: &BTreeMap<String, String>, names: &[&str]) -> bool {
    names.iter().all(|name| tag(own, name).is_some_and(|value| tag(found, name) == Some(value)))
}
