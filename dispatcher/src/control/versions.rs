//! Managed images and gallery versions as sources: what is known about them, and where their temporaries are created.

use std::collections::BTreeMap;

use goldfleet_config::Config;
use goldfleet_config::targets::TargetsFile;
use goldfleet_hubs::plan::HubPlace;
use goldfleet_model::ids::Region;
use goldfleet_model::resource::{ResourceId, VersionRef};
use goldfleet_ports::Ports;
use goldfleet_ports::error::{ErrorKind, PortResult};
use goldfleet_ports::resources::Resource;
use goldfleet_snapshots::id::GroupRef;
use goldfleet_sources::{Refusal, SourceError, SourceLocation, VersionFacts, codes};

use crate::control::context::{ControlContext, ControlError};
use crate::control::doctor::probe::known::{Found, Known};
use crate::control::doctor::probe::questions::GALLERY_SHALLOW_DISK;
use crate::control::platform::plan::hubs;

/// A managed image or a gallery version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum VersionSource {
    /// A managed image. A temporary gallery version is created of it.
    Image(ResourceId),
    /// A gallery version.
    Version(VersionRef),
}

impl VersionSource {
    /// The image or version that a location names. None for other sources.
    pub(crate) fn of(location: &SourceLocation) -> Option<Self> {
        match location {
            SourceLocation::Image(id) => Some(Self::Image(id.clone())),
            SourceLocation::Gallery(version) => Some(Self::Version(version.clone())),
            SourceLocation::Blob(_)
            | SourceLocation::Disk(_)
            | SourceLocation::Snapshot(_)
            | SourceLocation::Machine(_) => None,
        }
    }

    /// Reads and checks it. Changes nothing.
    ///
    /// # Errors
    /// [`SourceError::Refused`] if it does not exist or cannot be a source.
    pub(crate) async fn read(&self, control: &ControlContext, location: &str) -> Result<VersionFacts, SourceError> {
        let missing = |what: &str| Refusal::new(&codes::SOURCE_NOT_FOUND, location, format!("there is no {what}"));
        match self {
            Self::Image(id) => {
                let found = find(&control.ports, id).await?.ok_or_else(|| missing("image"))?;
                check_measured(&Known::read(&control.ports).await?, location, &found.body.region)?;
                Ok(VersionFacts::of_image(location, &found)?)
            }
            Self::Version(VersionRef::Own(id)) => {
                let found = find(&control.ports, id).await?.ok_or_else(|| missing("gallery version"))?;
                let definition = id.parent().unwrap_or_else(|| id.clone());
                let definition = find(&control.ports, &definition).await?.ok_or_else(|| missing("image definition"))?;
                Ok(VersionFacts::of_version(location, &found, &definition)?)
            }
            // It has no resource id, and the service states its properties only in the disk that is created from it.
            Self::Version(VersionRef::Shared(_)) => Ok(VersionFacts::of_shared(location)),
        }
    }

    /// Where the temporaries are created: those of an image beside it; a disk of a version in a hub in one of its
    /// regions, or beside its gallery. `preferred` are regions, the best one first.
    ///
    /// # Errors
    /// [`codes::VERSION_ELSEWHERE`] if there is no such place.
    pub(crate) fn place(
        &self,
        facts: &VersionFacts,
        hubs: &BTreeMap<Region, HubPlace>,
        preferred: &[&Region],
    ) -> Result<ScratchPlace, Refusal> {
        let usable = |region: &&Region| facts.regions.is_empty() || facts.regions.contains(region);
        let of_hub = |region: &Region| {
            let hub = hubs.get(region)?;
            let encryption_set = hub.encryption_set.clone();
            Some(ScratchPlace { group: hub.group.clone(), region: region.clone(), encryption_set })
        };
        match (self, facts.regions.first()) {
            (Self::Image(id), Some(region)) => {
                return Ok(ScratchPlace { group: GroupRef::from(id), region: region.clone(), encryption_set: None });
            }
            (Self::Image(_), None) => {}
            (Self::Version(version), first) => {
                let regions = preferred.iter().copied().chain(hubs.keys());
                if let Some(found) = regions.filter(usable).find_map(of_hub) {
                    return Ok(found);
                }
                if let (VersionRef::Own(id), Some(region)) = (version, first) {
                    let group = GroupRef::from(id);
                    return Ok(ScratchPlace { group, region: region.clone(), encryption_set: None });
                }
            }
        }
        let reason = "no hub is in one of its regions: give a [[store]] subscription and resource_group";
        Err(Refusal::new(&codes::VERSION_ELSEWHERE, &facts.location, reason))
    }
}

/// Refuses an image if a probe found that no disk is created from a temporary gallery version of it, which is shallow.
fn check_measured(known: &Known, location: &str, region: &Region) -> Result<(), Refusal> {
    match known.in_region(GALLERY_SHALLOW_DISK, region) {
        Some(Found { yes: false, at }) => {
            let at = at.strftime("%Y-%m-%d");
            let reason =
                format!("a probe of {at} found that no disk is created from a shallow gallery version in {region}");
            Err(Refusal::new(&codes::NOT_SUPPORTED_HERE, location, reason))
        }
        _ => Ok(()),
    }
}

/// Where temporaries are created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ScratchPlace {
    /// The subscription and resource group.
    pub(crate) group: GroupRef,
    /// The region.
    pub(crate) region: Region,
    /// The id of the disk encryption set of the place.
    pub(crate) encryption_set: Option<String>,
}

/// The hubs of the configuration. A configuration without targets has none.
pub(crate) fn configured_hubs(config: &Config) -> Result<BTreeMap<Region, HubPlace>, ControlError> {
    let path = &config.targets.file;
    Ok(if path.exists() { hubs(&TargetsFile::load(path)?) } else { BTreeMap::new() })
}

/// A resource. None if it does not exist, or if its group does not exist.
pub(crate) async fn find(ports: &Ports, id: &ResourceId) -> PortResult<Option<Resource>> {
    let get = || ports.resources.get(id, None);
    match ports.retry(get).await {
        Err(error) if error.kind == ErrorKind::NotFound => Ok(None),
        found => found,
    }
}

#[cfg(test)]
mod tests {
    use crate::control::doctor::probe::questions::{Answer, Measurement};
    use crate::control::doctor::probe::record::ProbeResult;
    use goldfleet_model::ids::SubscriptionId;

    use super::*;

    fn hub(n: u32, region: &str) -> (Region, HubPlace) {
        let group = GroupRef { subscription: SubscriptionId::nth_for_tests(n), resource_group: "hub".parse().unwrap() };
        (region.parse().unwrap(), HubPlace { group, encryption_set: None })
    }

    #[test]
    fn disks_of_a_version_are_created_in_one_of_its_regions() {
        let id = format!(
            "/subscriptions/{}/resourceGroups/g/providers/Microsoft.Compute/galleries/c/images/u/versions/1.0.0",
            SubscriptionId::nth_for_tests(9)
        );
        let source = VersionSource::Version(id.parse().unwrap());
        let hubs = BTreeMap::from([hub(1, "eastus"), hub(2, "northeurope"), hub(3, "westeurope")]);
        let region = |name: &str| name.parse::<Region>().unwrap();
        let facts = |regions: &[&str]| VersionFacts {
            regions: regions.iter().map(|name| region(name)).collect(),
            ..VersionFacts::of_shared("gallery:v")
        };
        let west = region("westeurope");
        let place = |regions: &[&str]| source.place(&facts(regions), &hubs, &[&west]).unwrap();
        assert_eq!(place(&["eastus", "westeurope"]).region, west, "the preferred region");
        assert_eq!(place(&["northeurope", "eastus"]).region, region("eastus"), "another hub");
        let beside = place(&["uksouth"]);
        assert_eq!(
            (beside.region, beside.group),
            (region("uksouth"), GroupRef::from(&id.parse::<ResourceId>().unwrap()))
        );
        let shared = VersionSource::Version("/SharedGalleries/a/Images/b/Versions/1.0.0".parse().unwrap());
        assert_eq!(shared.place(&facts(&[]), &hubs, &[&west]).unwrap().region, west);
        let refused = shared.place(&facts(&[]), &BTreeMap::new(), &[&west]).unwrap_err();
        assert_eq!(refused.code.name, "version-elsewhere");
    }

    #[test]
    fn an_image_is_refused_only_after_a_probe_of_its_region_said_no() {
        let region: Region = "westeurope".parse().unwrap();
        let check = |place: &str, answer| {
            let measured = Measurement { id: GALLERY_SHALLOW_DISK.to_owned(), answer, detail: String::new() };
            let at = "2026-11-29T00:00:00Z".parse().unwrap();
            let result = ProbeResult { places: vec![place.to_owned()], at, measurements: vec![measured] };
            let known = Known::new(vec![result], "2026-11-30T00:00:00Z".parse().unwrap());
            check_measured(&known, "image:x", &region).map_err(|refusal| refusal.code.name)
        };
        assert_eq!(check("s/westeurope/g", Answer::No), Err("not-supported-here"));
        for (place, answer) in
            [("s/westeurope/g", Answer::Yes), ("s/westeurope/g", Answer::Unmeasured), ("s/eastus/g", Answer::No)]
        {
            assert_eq!(check(place, answer), Ok(()), "{place} {answer:?}");
        }
    }
}
