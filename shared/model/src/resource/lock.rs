//! Management locks. Source: Microsoft.Authorization, locks 2020-05-01, `ManagementLockObject`.

use std::fmt;
use std::str::FromStr;

use serde_json::Value;

use super::ResourceId;
use crate::ids::InvalidName;

/// The separator between the scope and the name in the id of a lock.
const SEGMENT: &str = "/providers/Microsoft.Authorization/locks/";

/// What a lock forbids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LockLevel {
    /// Deletion.
    CanNotDelete,
    /// Deletion, changes, and actions such as giving access.
    ReadOnly,
}

impl LockLevel {
    /// The value in Resource Manager.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CanNotDelete => "CanNotDelete",
            Self::ReadOnly => "ReadOnly",
        }
    }
}

/// A lock that applies to a resource: its own, or one of its resource group or subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lock {
    /// The id: the scope and the name of the lock.
    pub id: String,
    /// The name.
    pub name: String,
    /// The level, `CanNotDelete` or `ReadOnly`. A lock of any other level forbids deletion too.
    pub level: String,
}

impl Lock {
    /// The name of the lock that a sync puts on its replicas.
    #[must_use]
    pub fn name_of(sync: &str) -> String {
        format!("goldfleet-{sync}")
    }

    /// Reads a lock from the service's JSON. A field that is missing is empty, so the lock counts as foreign.
    #[must_use]
    pub fn from_json(value: &Value) -> Self {
        let text = |path| value.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
        Self { id: text("/id"), name: text("/name"), level: text("/properties/level") }
    }

    /// The lock with this name at a scope: the id of a subscription, resource group or resource.
    #[must_use]
    pub fn at(scope: &str, name: &str, level: &str) -> Self {
        let id = format!("{}{SEGMENT}{name}", scope.trim_end_matches('/'));
        Self { id, name: name.to_owned(), level: level.to_owned() }
    }

    /// Whether this is the lock of a sync on the resource itself. goldfleet never puts a lock on a group or
    /// subscription.
    #[must_use]
    pub fn is_of(&self, sync: &str, resource: &impl fmt::Display) -> bool {
        let own = Self::at(&resource.to_string(), &Self::name_of(sync), LockLevel::CanNotDelete.as_str());
        self.name.eq_ignore_ascii_case(&own.name)
            && self.id.eq_ignore_ascii_case(&own.id)
            && self.level.eq_ignore_ascii_case(&own.level)
    }

    /// The id of the subscription, resource group or resource that is locked. None if the id is not that of a lock.
    #[must_use]
    pub fn scope(&self) -> Option<&str> {
        split(&self.id).map(|(scope, _)| scope)
    }

    /// Whether the lock applies to a resource: whether its scope is the resource, or contains it. A lock whose scope
    /// cannot be read applies to every resource, because to overlook a lock does more harm than to honour a foreign
    /// one.
    #[must_use]
    pub fn applies_to(&self, resource: &ResourceId) -> bool {
        let Some(scope) = self.scope() else { return true };
        let (scope, resource) = (scope.trim_matches('/').to_ascii_lowercase(), resource.key());
        let resource = resource.trim_start_matches('/');
        scope.is_empty() || resource.strip_prefix(&scope).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// Whether it also forbids changes and actions.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.level.eq_ignore_ascii_case(LockLevel::ReadOnly.as_str())
    }
}

/// The scope and the name in the id of a lock.
fn split(id: &str) -> Option<(&str, &str)> {
    let at = id.to_ascii_lowercase().rfind(&SEGMENT.to_ascii_lowercase())?;
    Some((&id[..at], &id[at + SEGMENT.len()..]))
}

/// The id of a lock on a resource. goldfleet puts and deletes no other locks.
#[derive(Clone, PartialEq, Eq)]
pub struct LockId {
    /// The resource.
    pub resource: ResourceId,
    name: String,
}

impl LockId {
    /// The id of the lock with this name.
    ///
    /// # Errors
    /// If the name is not valid: see the rule in the error.
    pub fn new(resource: ResourceId, name: &str) -> Result<Self, InvalidName> {
        // Azure permits more. These names are also names of files, and need no escaping in an address.
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        if (1..=90).contains(&name.len()) && name.bytes().all(allowed) && !name.starts_with('.') {
            return Ok(Self { resource, name: name.to_owned() });
        }
        let rule = "use 1 to 90 letters, digits, '.', '_' or '-', not beginning with '.'";
        Err(InvalidName { what: "lock name", given: name.to_owned(), rule })
    }

    /// The name of the lock.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for LockId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{SEGMENT}{}", self.resource, self.name)
    }
}

impl fmt::Debug for LockId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for LockId {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let rule = "use the id of a lock on an image, a disk or a snapshot: \
                    RESOURCE/providers/Microsoft.Authorization/locks/NAME";
        let invalid = || InvalidName { what: "lock id", given: text.to_owned(), rule };
        let (scope, name) = split(text).ok_or_else(invalid)?;
        Self::new(scope.parse().map_err(|_| invalid())?, name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUP: &str = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/Snaps";

    fn snapshot(name: &str) -> ResourceId {
        format!("{GROUP}/providers/Microsoft.Compute/snapshots/{name}").parse().unwrap()
    }

    #[test]
    fn a_lock_applies_to_what_its_scope_contains() {
        let resource = snapshot("ctx-1");
        let subscription = "/subscriptions/00000000-0000-0000-0000-000000000001";
        let applies = |scope: &str| Lock::at(scope, "keep", "CanNotDelete").applies_to(&resource);
        for scope in [subscription, &subscription.to_uppercase(), GROUP, &GROUP.to_uppercase(), &resource.to_string()] {
            assert!(applies(scope), "{scope}");
        }
        let other = "/subscriptions/00000000-0000-0000-0000-000000000002";
        let (longer, sibling) = (format!("{GROUP}2"), snapshot("ctx-10").to_string());
        let (prefix, below) = (snapshot("ctx").to_string(), format!("{resource}/child/c"));
        for scope in [other, &longer, &sibling, &prefix, &below] {
            assert!(!applies(scope), "{scope}");
        }
        let unreadable = Lock { id: "keep".to_owned(), name: "keep".to_owned(), level: String::new() };
        assert!(unreadable.applies_to(&resource));
    }

    #[test]
    fn only_locks_of_resources_have_an_id() {
        let id = LockId::new(snapshot("a"), "goldfleet-citrix").unwrap();
        assert_eq!(id.to_string().parse::<LockId>().unwrap(), id);
        assert_eq!(id.to_string().to_lowercase().parse::<LockId>().unwrap().resource, id.resource);
        let of = |scope: &str, name: &str| format!("{scope}/providers/Microsoft.Authorization/locks/{name}");
        let resource = snapshot("a").to_string();
        for bad in
            [of(GROUP, "keep"), of("", "keep"), of(&resource, ""), of(&resource, "a/b"), of(&resource, "a?b"), resource]
        {
            assert!(bad.parse::<LockId>().is_err(), "{bad}");
        }
        for bad in ["", ".hidden", "a b", "é", &"x".repeat(91)] {
            assert!(LockId::new(snapshot("a"), bad).is_err(), "{bad}");
        }
    }
}
