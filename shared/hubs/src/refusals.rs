//! What is refused before the first change, besides properties of the source that no copy survives.

use goldfleet_galleries::graph::PlannedGallery;
use goldfleet_galleries::settings::{Gallery, GalleryRegion};
use goldfleet_model::artifact::DiskRole;
use goldfleet_model::ids::{Region, SubscriptionId};
use goldfleet_model::job::Finding;
use goldfleet_model::target::Target;

use crate::plan::{Delivery, HubPlace, PlannedTarget};
use crate::source::{Content, Source};

/// The faults of a plan. Empty if it can be run.
pub(crate) fn all(delivery: &Delivery) -> Vec<Finding> {
    let mut faults = Faults { delivery, found: Vec::new() };
    for planned in delivery.to_do() {
        faults.target(planned);
    }
    for planned in delivery.galleries_to_do() {
        faults.gallery(planned);
    }
    for region in delivery.remote_regions() {
        match delivery.hubs.get(region) {
            Some(hub) => faults.hub(region, hub),
            None => faults.found.push(hub_missing(region, "no place is known for its snapshot")),
        }
    }
    for disk in delivery.disks() {
        faults.scratch(disk);
    }
    faults.found
}

struct Faults<'a> {
    delivery: &'a Delivery,
    found: Vec<Finding>,
}

impl Faults<'_> {
    fn add(&mut self, code: &'static str, place: impl ToString, message: impl Into<String>) {
        self.found.push(Finding::failure(code, place, message));
    }

    fn target(&mut self, planned: &PlannedTarget) {
        let target = &planned.target;
        self.found.extend(in_other_tenant(target));
        self.encryption(&Place::of_target(target));
    }

    /// The temporary snapshot of a gallery, and the replicas of its versions. A disk encryption set serves one region,
    /// and the replicas of each region need one (source: Azure, image-version-encryption).
    fn gallery(&mut self, planned: &PlannedGallery) {
        for region in planned.settings.all_regions() {
            self.encryption(&Place::of_gallery(&planned.settings, &region));
        }
    }

    fn hub(&mut self, region: &Region, hub: &HubPlace) {
        self.encryption(&Place::of_hub(region, hub));
    }

    /// A disk encryption set serves the resources of its subscription and region. A copy of what a customer's key
    /// encrypts needs one: without it, a key of the platform would encrypt the copy.
    fn encryption(&mut self, place: &Place<'_>) {
        if place.set.is_none() && self.delivery.disks().any(|disk| disk.customer_encryption().is_some()) {
            let message = "a key of yours encrypts the source: set disk_encryption_set here";
            self.add("encryption-set-missing", &place.name, message);
        }
        self.found.extend(set_elsewhere(place));
    }

    /// The temporaries in the region of the source have its disk encryption set. A disk of a gallery version has that
    /// of the hub.
    fn scratch(&mut self, source: &Source) {
        // All disks of a version have the same place.
        let is_counted = source.role == DiskRole::Os || !matches!(source.content, Content::Version(_));
        if !self.delivery.needs_scratch(source) || !is_counted {
            return;
        }
        let scratch = self.delivery.scratch(source);
        if matches!(source.content, Content::Version(_)) {
            let hub = self.delivery.hubs.get(source.region()).filter(|hub| hub.group == scratch);
            let set = hub.and_then(|hub| hub.encryption_set.as_deref());
            let name = format!("temporaries in {scratch}");
            self.encryption(&Place { name, subscription: scratch.subscription, set });
            return;
        }
        if let Some(set) = source.encryption_set()
            && !is_in(set, scratch.subscription)
        {
            let message = format!(
                "it is copied through temporaries in {scratch}, which cannot use its disk encryption set {set}: take an \
                 incremental snapshot of the disk, and dispatch that"
            );
            self.add("des-elsewhere", &source.id, message);
        }
    }
}

/// A place whose resources may have a disk encryption set.
pub(crate) struct Place<'a> {
    name: String,
    subscription: SubscriptionId,
    set: Option<&'a str>,
}

impl<'a> Place<'a> {
    pub(crate) fn of_target(target: &'a Target) -> Self {
        let set = target.disk_encryption_set.as_deref();
        Self { name: target.key().to_string(), subscription: target.subscription, set }
    }

    pub(crate) fn of_hub(region: &Region, hub: &'a HubPlace) -> Self {
        let set = hub.encryption_set.as_deref();
        Self { name: format!("hub of {region}"), subscription: hub.group.subscription, set }
    }

    pub(crate) fn of_gallery(gallery: &Gallery, region: &'a GalleryRegion) -> Self {
        let name = format!("gallery {} in {}", gallery.name, region.name);
        Self { name, subscription: gallery.subscription, set: region.disk_encryption_set.as_deref() }
    }
}

/// The fault of a disk encryption set that the resources of a place cannot use.
pub(crate) fn set_elsewhere(place: &Place<'_>) -> Option<Finding> {
    let set = place.set.filter(|set| !is_in(set, place.subscription))?;
    let message = format!("{set} is in another subscription: name a disk encryption set in this one");
    Some(Finding::failure("des-elsewhere", &place.name, message))
}

/// The fault of a region without a hub.
pub(crate) fn hub_missing(region: &Region, why: &str) -> Finding {
    let message = format!("give a [[store]] of the region subscription and resource_group: {why}");
    Finding::failure("hub-missing", region, message)
}

/// The fault of a target to which the platform copies nothing.
pub(crate) fn in_other_tenant(target: &Target) -> Option<Finding> {
    let tenant = target.tenant.as_ref()?;
    let message = format!("it is in tenant {tenant}, and the platform copies snapshots within one tenant only");
    Some(Finding::failure("other-tenant", target.key(), message))
}

fn is_in(id: &str, subscription: SubscriptionId) -> bool {
    id.to_ascii_lowercase().starts_with(&format!("/subscriptions/{subscription}/"))
}
