//! The tenants of subscriptions.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::ids::{InvalidName, SubscriptionId};
use super::serde_as_string;

/// A tenant of Microsoft Entra: its id or its domain, in lower case.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TenantName(String);

impl TenantName {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TenantName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let is_name = text.contains(['-', '.'])
            && text.len() <= 253
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte));
        if is_name {
            return Ok(Self(text.to_ascii_lowercase()));
        }
        Err(InvalidName { what: "tenant", given: text.to_owned(), rule: "use its id or its domain" })
    }
}

impl fmt::Display for TenantName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

serde_as_string!(TenantName);

/// The tenants of the subscriptions that are not in the tenant of the credential.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Tenants(BTreeMap<SubscriptionId, TenantName>);

impl Tenants {
    /// Whether all subscriptions are in the tenant of the credential.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The tenant of a subscription. None if it is the credential's tenant.
    #[must_use]
    pub fn of(&self, subscription: &SubscriptionId) -> Option<&TenantName> {
        self.0.get(subscription)
    }

    /// Whether two subscriptions are in different tenants.
    #[must_use]
    pub fn differ(&self, one: &SubscriptionId, other: &SubscriptionId) -> bool {
        self.of(one) != self.of(other)
    }

    /// The subscriptions with their tenants.
    pub fn iter(&self) -> impl Iterator<Item = (&SubscriptionId, &TenantName)> {
        self.0.iter()
    }
}

impl FromIterator<(SubscriptionId, TenantName)> for Tenants {
    fn from_iter<T: IntoIterator<Item = (SubscriptionId, TenantName)>>(tenants: T) -> Self {
        Self(tenants.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subscriptions_without_an_entry_are_in_one_tenant() {
        let id = SubscriptionId::nth_for_tests;
        let tenants: Tenants =
            [(id(1), "Contoso.com".parse().unwrap()), (id(2), "contoso.com".parse().unwrap())].into_iter().collect();
        assert!(!tenants.differ(&id(1), &id(2)) && tenants.differ(&id(1), &id(3)) && !tenants.differ(&id(3), &id(4)));
        assert_eq!(tenants.of(&id(1)).map(TenantName::as_str), Some("contoso.com"));
    }

    #[test]
    fn tenant_is_an_id_or_a_domain() {
        for good in ["contoso.com", "00000000-0000-0000-0000-000000000001"] {
            assert!(good.parse::<TenantName>().is_ok(), "{good}");
        }
        for bad in ["", "contoso", "a b.c", "a/b.c", "https://contoso.com"] {
            assert!(bad.parse::<TenantName>().is_err(), "{bad}");
        }
    }
}
