//! What is refused before the first change, besides properties of the source that no copy survives.

use goldfleet_galleries::graph::PlannedGallery;
use goldfleet_model::ids::SubscriptionId;
use goldfleet_model::job::Finding;

use crate::plan::{Delivery, HubPlace, PlannedTarget};

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
            Some(hub) => faults.hub(region.as_str(), hub),
            None => faults.add("hub-missing", region, "no subscription and resource group is known for its snapshot"),
        }
    }
    faults.scratch();
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
        if let Some(tenant) = &target.tenant {
            let message = format!("it is in tenant {tenant}, and the platform copies snapshots within one tenant only");
            self.add("other-tenant", target.key(), message);
        }
        self.encryption(&target.key().to_string(), target.subscription, target.disk_encryption_set.as_deref());
    }

    /// The temporary snapshot of a gallery, and the replicas of its versions. A disk encryption set serves one region, and the
    /// replicas of each region need one (source: Azure, image-version-encryption).
    fn gallery(&mut self, planned: &PlannedGallery) {
        let settings = &planned.settings;
        for region in settings.all_regions() {
            let place = format!("gallery {} in {}", settings.name, region.name);
            self.encryption(&place, settings.subscription, region.disk_encryption_set.as_deref());
        }
    }

    fn hub(&mut self, region: &str, hub: &HubPlace) {
        self.encryption(&format!("hub of {region}"), hub.group.subscription, hub.encryption_set.as_deref());
    }

    /// A disk encryption set serves the resources of its subscription and region. A copy of what a customer's key encrypts
    /// needs one: without it, a key of the platform would encrypt the copy.
    fn encryption(&mut self, place: &str, subscription: SubscriptionId, set: Option<&str>) {
        match set {
            None if self.delivery.source.customer_encryption().is_some() => {
                let message = "a key of yours encrypts the source: set disk_encryption_set here";
                self.add("encryption-set-missing", place, message);
            }
            Some(set) if !is_in(set, subscription) => {
                let message = format!("{set} is in another subscription: name a disk encryption set in this one");
                self.add("des-elsewhere", place, message);
            }
            _ => {}
        }
    }

    /// The temporaries in the region of the source have its disk encryption set.
    fn scratch(&mut self) {
        let source = &self.delivery.source;
        let scratch = self.delivery.scratch();
        if let Some(set) = source.encryption_set().filter(|_| self.delivery.needs_scratch())
            && !is_in(set, scratch.subscription)
        {
            let message = format!(
                "it is copied by way of temporaries in {scratch}, which cannot use its disk encryption set {set}: take an \
                 incremental snapshot of the disk, and dispatch that"
            );
            self.add("des-elsewhere", &source.id, message);
        }
    }
}

fn is_in(id: &str, subscription: SubscriptionId) -> bool {
    id.to_ascii_lowercase().starts_with(&format!("/subscriptions/{subscription}/"))
}
