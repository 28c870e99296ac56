//! Generates targets for every subscription in every region. The names of their staging accounts begin with a prefix.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use goldfleet_model::ids::{AccountName, ContainerName, InvalidName, Region, ResourceGroup, SubscriptionId};
use goldfleet_model::sink::Sinks;
use goldfleet_model::target::{Target, TargetKey};

use super::TargetsFile;
use super::located::Located;

/// The number of characters after the prefix of an account name. Account names are unique in all of Azure, so there
/// must be many combinations: with 8 characters of an alphabet of 36, the probability that any of ten thousand names
/// equals one of ten thousand others is 1 in 28,000.
const SUFFIX_LENGTH: usize = 8;
const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";

/// The prefix of the names of generated staging accounts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountPrefix(String);

/// An invalid prefix.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("account prefix {0:?} is not valid: use 1 to 16 lower-case letters and digits; 8 more make it a name")]
pub struct InvalidPrefix(String);

impl FromStr for AccountPrefix {
    type Err = InvalidPrefix;

    fn from_str(text: &str) -> Result<Self, InvalidPrefix> {
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        if (1..=16).contains(&text.len()) && text.bytes().all(allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidPrefix(text.to_owned()))
        }
    }
}

impl fmt::Display for AccountPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// The targets to generate.
#[derive(Debug, Clone)]
pub struct Generate {
    /// The subscriptions.
    pub subscriptions: Vec<SubscriptionId>,
    /// The regions in which each subscription gets a target.
    pub regions: Vec<Region>,
    /// The prefix of the names of staging accounts.
    pub prefix: AccountPrefix,
    /// The resource group for images.
    pub resource_group: ResourceGroup,
    /// The container for VHDs.
    pub container: ContainerName,
    /// The ring.
    pub ring: u32,
    /// The known display names of subscriptions.
    pub names: BTreeMap<SubscriptionId, String>,
}

impl Generate {
    /// Generates the targets without duplicates, in the order of subscriptions and then regions. The name of an account
    /// depends only on prefix, subscription and region, unless `existing` uses it for another target. So names do not
    /// change if the lists grow. An existing target with an account of this prefix keeps the account.
    ///
    /// # Errors
    /// [`InvalidName`] if an account name is invalid. A valid prefix never causes it.
    pub fn targets(&self, existing: &TargetsFile) -> Result<Vec<Located<Target>>, InvalidName> {
        let mut taken: BTreeSet<AccountName> = existing.targets.iter().map(|target| target.account.clone()).collect();
        taken.extend(existing.stores.iter().map(|store| store.account.clone()));
        let own: BTreeMap<TargetKey, &AccountName> =
            existing.targets.iter().map(|target| (target.key(), &target.account)).collect();
        let mut seen = BTreeSet::new();
        let mut targets = Vec::new();
        for &subscription in &self.subscriptions {
            for region in &self.regions {
                let key = TargetKey { subscription, region: region.clone() };
                if seen.insert(key.clone()) {
                    let account = match own.get(&key) {
                        Some(&account) if account.as_str().starts_with(&self.prefix.0) => account.clone(),
                        _ => self.free_name(&key, &taken)?,
                    };
                    taken.insert(account.clone());
                    targets.push(Located::given("generated", self.target(key, account)));
                }
            }
        }
        Ok(targets)
    }

    fn free_name(&self, key: &TargetKey, taken: &BTreeSet<AccountName>) -> Result<AccountName, InvalidName> {
        let mut attempt = 0;
        loop {
            let name = account_name(&self.prefix, key, attempt)?;
            if !taken.contains(&name) {
                return Ok(name);
            }
            attempt += 1;
        }
    }

    fn target(&self, key: TargetKey, account: AccountName) -> Target {
        Target {
            subscription: key.subscription,
            region: key.region,
            resource_group: self.resource_group.clone(),
            account,
            container: self.container.clone(),
            name: self.names.get(&key.subscription).cloned(),
            ring: self.ring,
            enabled: true,
            tags: BTreeMap::new(),
            disk_encryption_set: None,
            tenant: None,
            sinks: Sinks::default(),
        }
    }
}

/// The account name for a target. If it is taken, the caller increments `attempt`.
fn account_name(prefix: &AccountPrefix, key: &TargetKey, attempt: u32) -> Result<AccountName, InvalidName> {
    let hash = blake3::hash(format!("{key} {attempt}").as_bytes());
    // The modulo makes some characters slightly more probable. The effect on collisions is negligible.
    let suffix =
        hash.as_bytes().iter().take(SUFFIX_LENGTH).map(|&byte| char::from(DIGITS[usize::from(byte) % DIGITS.len()]));
    prefix.0.chars().chain(suffix).collect::<String>().parse()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn generate(subscriptions: impl IntoIterator<Item = u32>, regions: &[String], prefix: &str) -> Generate {
        Generate {
            subscriptions: subscriptions.into_iter().map(SubscriptionId::nth_for_tests).collect(),
            regions: regions.iter().map(|region| region.parse().unwrap()).collect(),
            prefix: prefix.parse().unwrap(),
            resource_group: "images".parse().unwrap(),
            container: "vhds".parse().unwrap(),
            ring: 0,
            names: BTreeMap::new(),
        }
    }

    fn names(generate: &Generate, existing: &TargetsFile) -> Vec<(TargetKey, AccountName)> {
        let targets = generate.targets(existing).unwrap();
        targets.into_iter().map(|placed| (placed.value().key(), placed.value().account.clone())).collect()
    }

    proptest! {
        #[test]
        fn generated_names_are_valid_unique_and_stable(
            mut subscriptions in proptest::collection::vec(any::<u32>(), 0..30),
            mut regions in proptest::collection::vec("[a-z]{2,12}[0-9]?", 0..8),
            prefix in "[a-z0-9]{1,16}",
            more in any::<u32>(),
        ) {
            let nothing = TargetsFile::default();
            let few = names(&generate(subscriptions.clone(), &regions, &prefix), &nothing);
            let pairs: BTreeSet<_> =
                subscriptions.iter().flat_map(|s| regions.iter().map(move |r| (*s, r.clone()))).collect();
            prop_assert_eq!(few.len(), pairs.len());
            subscriptions.insert(0, more);
            regions.insert(0, "newregion".to_owned());
            let many = names(&generate(subscriptions, &regions, &prefix), &nothing);
            let distinct: BTreeSet<_> = many.iter().map(|(_, name)| name).collect();
            prop_assert_eq!(distinct.len(), many.len());
            prop_assert!(many.iter().all(|(_, name)| name.as_str().starts_with(&prefix)));
            for pair in &few {
                prop_assert!(many.contains(pair));
            }
        }
    }

    #[test]
    fn taken_account_name_is_not_reused() {
        let generate = generate([1], &["westeurope".to_owned()], "stage");
        let (key, first) = names(&generate, &TargetsFile::default()).remove(0);
        let mut other = generate.target(key.clone(), first.clone());
        other.region = "eastus".parse().unwrap();
        let existing = TargetsFile { targets: vec![other], ..TargetsFile::default() };
        let second = names(&generate, &existing).remove(0).1;
        assert_ne!(second, first);
        // A target in the file keeps its account.
        let kept = TargetsFile { targets: vec![generate.target(key, second.clone())], ..TargetsFile::default() };
        assert_eq!(names(&generate, &kept).remove(0).1, second);
    }

    #[test]
    fn longer_prefix_is_not_mistaken_for_existing() {
        let regions = ["westeurope".to_owned()];
        let existing = generate([1], &regions, "stage").targets(&TargetsFile::default()).unwrap();
        let existing =
            TargetsFile { targets: existing.into_iter().map(Located::into_value).collect(), ..TargetsFile::default() };
        let (_, other) = names(&generate([1], &regions, "gold"), &existing).remove(0);
        assert!(other.as_str().starts_with("gold"), "{other}");
    }

    #[test]
    fn account_prefixes_are_validated() {
        insta::assert_snapshot!("Stage".parse::<AccountPrefix>().unwrap_err(), @r#"account prefix "Stage" is not valid: use 1 to 16 lower-case letters and digits; 8 more make it a name"#);
        assert!("".parse::<AccountPrefix>().is_err());
        assert!("a".repeat(17).parse::<AccountPrefix>().is_err());
    }
}
