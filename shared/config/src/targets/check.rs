//! Checks of targets, stores and galleries against each other.

mod galleries;

use std::collections::HashMap;
use std::fmt::Display;
use std::hash::Hash;

use goldfleet_diagnostics::Diagnostic;
use goldfleet_galleries::settings::Gallery;
use goldfleet_model::ids::{AccountName, Region, SubscriptionId};
use goldfleet_model::target::Target;

use super::WrittenStore;
use super::located::Located;

/// Returns an error for each conflict, in file order.
pub(super) fn check(
    targets: &[Located<Target>],
    stores: &[Located<WrittenStore>],
    galleries: &[Located<Gallery>],
) -> Vec<Diagnostic> {
    let mut check = Check::default();
    for target in targets {
        check.target(target);
    }
    for store in stores {
        check.store(store);
    }
    let mut problems = check.problems;
    problems.extend(galleries::check(galleries));
    problems
}

#[derive(Default)]
struct Check<'a> {
    problems: Vec<Diagnostic>,
    targets: HashMap<(SubscriptionId, &'a Region), &'a dyn Display>,
    stores: HashMap<&'a AccountName, &'a dyn Display>,
    accounts: HashMap<&'a AccountName, SeenAccount<'a>>,
    hubs: HashMap<&'a Region, &'a dyn Display>,
}

/// The location of a storage account according to its first occurrence. A store does not specify the subscription.
struct SeenAccount<'a> {
    region: &'a Region,
    subscription: SubscriptionId,
    named_by: &'a dyn Display,
}

impl<'a> Check<'a> {
    fn target(&mut self, placed: &'a Located<Target>) {
        let target = placed.value();
        if let Some(first) = first_holder(&mut self.targets, (target.subscription, &target.region), placed) {
            let message = format!("the target {} is there already, at {first}: remove one", target.key());
            self.problems.push(placed.problem("region", message));
            return;
        }
        let here = SeenAccount { region: &target.region, subscription: target.subscription, named_by: placed };
        let account = self.accounts.entry(&target.account).or_insert(here);
        if (account.region, account.subscription) != (&target.region, target.subscription) {
            let SeenAccount { region, subscription, named_by } = account;
            let message = format!(
                "{} is in {subscription}/{region} according to {named_by}, and an account is in one subscription and region only: name another account",
                target.account
            );
            self.problems.push(placed.problem("account", message));
        }
        self.optional_fields(placed);
    }

    fn optional_fields(&mut self, placed: &Located<Target>) {
        let target = placed.value();
        self.problems.extend(encryption_set_problem(placed, target.disk_encryption_set.as_deref()));
        if let Some(name) = &target.name
            && (name.trim().is_empty() || name.chars().count() > 100 || name.chars().any(char::is_control))
        {
            let message = format!("{name:?} is not a display name: use 1 to 100 characters without control characters");
            self.problems.push(placed.problem("name", message));
        }
        if let Some(tenant) = &target.tenant {
            let good =
                tenant.contains(['-', '.']) && tenant.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.".contains(&b));
            if !good {
                let message = format!("{tenant:?} is not a tenant: use its id or its domain");
                self.problems.push(placed.problem("tenant", message));
            }
        }
    }

    fn store(&mut self, placed: &'a Located<WrittenStore>) {
        let store = placed.value();
        // Several stores in one region increase the egress rate. A second container of the same account would not.
        if let Some(first) = first_holder(&mut self.stores, &store.account, placed) {
            let message = format!("{} holds a store already, at {first}: remove one", store.account);
            self.problems.push(placed.problem("account", message));
        }
        if let Some(account) = self.accounts.get(&store.account)
            && account.region != &store.region
        {
            let SeenAccount { region, named_by, .. } = account;
            let message =
                format!("{} is in {region} according to {named_by}: name an account in this region", store.account);
            self.problems.push(placed.problem("account", message));
        }
        self.hub(placed);
    }

    /// A hub has a subscription and a resource group. A region has one hub.
    fn hub(&mut self, placed: &'a Located<WrittenStore>) {
        let store = placed.value();
        let missing = match (&store.subscription, &store.resource_group) {
            (None, None) if store.disk_encryption_set.is_none() => return,
            (None, _) => Some("subscription"),
            (_, None) => Some("resource_group"),
            _ => None,
        };
        if let Some(key) = missing {
            let message = format!("a store with a hub needs {key}: add it, or remove the other keys of the hub");
            self.problems.push(placed.problem(key, message));
            return;
        }
        self.problems.extend(encryption_set_problem(placed, store.disk_encryption_set.as_deref()));
        if let Some(first) = first_holder(&mut self.hubs, &store.region, placed) {
            let message = format!("{} has a hub already, at {first}: remove one", store.region);
            self.problems.push(placed.problem("subscription", message));
        }
    }
}

fn encryption_set_problem<T>(placed: &Located<T>, set: Option<&str>) -> Option<Diagnostic> {
    let set = set?;
    let lower = set.to_ascii_lowercase();
    if lower.starts_with("/subscriptions/") && lower.contains("/microsoft.compute/diskencryptionsets/") {
        return None;
    }
    let rule = "use the resource id, /subscriptions/…/Microsoft.Compute/diskEncryptionSets/…";
    Some(placed.problem("disk_encryption_set", format!("{set:?} is not a disk encryption set: {rule}")))
}

/// Returns the first holder of `key`. If there is none, `holder` becomes the holder.
fn first_holder<'a, K: Eq + Hash>(
    holders: &mut HashMap<K, &'a dyn Display>,
    key: K,
    holder: &'a dyn Display,
) -> Option<&'a dyn Display> {
    let first = holders.get(&key).copied();
    if first.is_none() {
        holders.insert(key, holder);
    }
    first
}
