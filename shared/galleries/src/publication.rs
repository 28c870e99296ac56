//! What goldfleet remembers about a gallery version after its job has ended, and about the verification of an image
//! version. Both are records beside the job table.

use std::collections::{BTreeMap, BTreeSet};

use goldfleet_model::hash::digest_of;
use goldfleet_model::ids::{ImageName, ImageVersion, JobId, Region};
use goldfleet_model::image::ImageRef;
use goldfleet_model::resource::{GalleryVersionProperties, ResourceId, region_named};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::spec::PublishSpec;

/// The beginning of the names of the records of publications.
pub const PREFIX: &str = "publication.";

/// The number of hexadecimal digits in the names of records.
const DIGITS: usize = 24;

/// The version of the format of both records.
pub const FORMAT: u16 = 1;

/// A gallery version that a job publishes or published.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Publication {
    /// What is published, with the wanted regions.
    pub spec: PublishSpec,
    /// What is known about the regions, by their programmatic names.
    #[serde(default)]
    pub regions: BTreeMap<String, RegionRecord>,
    /// Whether the version was created.
    #[serde(default)]
    pub created: bool,
    /// Whether the temporary disk of a trial may exist. It is set before the disk is requested.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub trial: bool,
    /// Who promoted it, if it can be the latest version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promoted: Option<Promoted>,
    /// Whether the version does not exist any more. Then it is not watched.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub gone: bool,
}

/// What is known about a region.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegionRecord {
    /// Whether a disk of the version was created in the region since the version was last added to it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ready: bool,
    /// Since when it is replicated. Each replication has its own time: one that begins after the region was removed,
    /// too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Whether this replication was complete.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub completed: bool,
    /// Why it is not ready, if it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// Who promoted a version, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Promoted {
    /// The operator.
    pub by: String,
    /// When.
    pub at: Timestamp,
}

impl Publication {
    /// A version that is published now.
    #[must_use]
    pub fn new(spec: PublishSpec) -> Self {
        Self { spec, regions: BTreeMap::new(), created: false, trial: false, promoted: None, gone: false }
    }

    /// The same version, published by another job: what is known about the regions stays.
    #[must_use]
    pub fn published_again(self, spec: PublishSpec) -> Self {
        Self { spec, gone: false, ..self }
    }

    /// Whether its record can be removed after its job has ended: the version was never created, or does not exist any
    /// more.
    #[must_use]
    pub fn is_obsolete(&self) -> bool {
        self.gone || !self.created
    }

    /// The regions that are ready.
    #[must_use]
    pub fn ready(&self) -> BTreeSet<String> {
        self.regions.iter().filter(|(_, region)| region.ready).map(|(name, _)| name.clone()).collect()
    }

    /// The name of its record.
    #[must_use]
    pub fn record_name(version: &ResourceId) -> String {
        format!("{PREFIX}{}", short_hash(&version.key()))
    }

    /// The wanted regions that are not ready.
    #[must_use]
    pub fn not_ready(&self) -> Vec<String> {
        let ready = self.ready();
        self.wanted().into_iter().filter(|region| !ready.contains(region)).collect()
    }

    /// The programmatic names of the wanted regions. Empty if the record is damaged.
    #[must_use]
    pub fn wanted(&self) -> Vec<String> {
        let body = self.spec.version_body().ok();
        let version = body.as_ref().and_then(|body| body.properties.gallery_version());
        version
            .map(GalleryVersionProperties::regions)
            .unwrap_or_default()
            .iter()
            .map(|region| region_named(&region.name))
            .collect()
    }
}

/// The result of the last verification of an image version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verification {
    /// The image version.
    pub image: ImageRef,
    /// The job whose results were verified.
    pub job: JobId,
    /// Who verified it.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// The number of locations that were inspected.
    pub locations: usize,
    /// The number of faults.
    pub faults: usize,
    /// Whether content was read.
    pub read: bool,
}

impl Verification {
    /// The name of the record of an image version.
    #[must_use]
    pub fn record_name(image: &ImageName, version: &ImageVersion) -> String {
        format!("verification.{}", short_hash(&format!("{image} {version}")))
    }

    /// Whether it proves that the version is as it should be.
    #[must_use]
    pub fn succeeded_for(&self, image: &ImageRef) -> bool {
        self.image == *image && self.faults == 0 && self.locations > 0
    }
}

fn short_hash(text: &str) -> String {
    let mut digits = digest_of(text.as_bytes()).to_string();
    digits.retain(|c| c.is_ascii_hexdigit());
    digits.truncate(DIGITS);
    digits
}

/// A region by its programmatic name. None if the name is not valid.
#[must_use]
pub fn region(name: &str) -> Option<Region> {
    region_named(name).parse().ok()
}
