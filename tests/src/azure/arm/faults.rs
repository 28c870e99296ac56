//! Faults that a test asks for while the double runs.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Which requests a fault is for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Matches {
    /// The method; any where there is none.
    pub method: Option<String>,
    /// The resource type, as in `Microsoft.Compute/images`; any where there is none.
    pub resource_type: Option<String>,
    /// What path and query contain, in any case; anything where there is none.
    pub containing: Option<String>,
}

impl Matches {
    /// All requests.
    #[must_use]
    pub fn all() -> Self {
        Self::default()
    }

    /// Requests of a method for a resource type.
    #[must_use]
    pub fn of(method: &str, resource_type: &str) -> Self {
        Self { method: Some(method.to_owned()), resource_type: Some(resource_type.to_owned()), containing: None }
    }

    /// Polls of operations, at either of their addresses.
    #[must_use]
    pub fn polls() -> Self {
        Self::of("GET", "Microsoft.Compute/locations/capsOperations")
    }

    /// The same, of those whose path and query contain a text.
    #[must_use]
    pub fn containing(self, text: &str) -> Self {
        Self { containing: Some(text.to_owned()), ..self }
    }

    fn matches(&self, method: &str, resource_type: &str, path: &str) -> bool {
        let same = |wanted: &Option<String>, is: &str| wanted.as_ref().is_none_or(|w| w.eq_ignore_ascii_case(is));
        let inside = |part: &String| path.to_ascii_lowercase().contains(&part.to_ascii_lowercase());
        same(&self.method, method)
            && same(&self.resource_type, resource_type)
            && self.containing.as_ref().is_none_or(inside)
    }
}

/// What goes wrong with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// It is answered with a status and nothing happens. `retry_after` is in seconds.
    Status(u16, Option<u64>),
    /// It takes effect and is answered with a status nonetheless, as by a gateway that lost patience.
    StatusAfterEffect(u16),
    /// The connection is reset and nothing happens.
    ResetBeforeEffect,
    /// It takes effect and the connection is reset.
    ResetAfterEffect,
    /// It waits first, then goes on as if nothing were.
    Delay(Duration),
}

/// The faults to come. Clones are the same.
#[derive(Clone, Default)]
pub struct Faults(Arc<Mutex<Vec<Rule>>>);

#[derive(Debug)]
struct Rule {
    matches: Matches,
    left: usize,
    fault: Fault,
}

impl Faults {
    /// Gives the next `times` requests that match a fault. Earlier rules go first.
    pub fn next(&self, times: usize, matches: Matches, fault: Fault) {
        self.with(|rules| rules.push(Rule { matches, left: times, fault }));
    }

    /// How many faults were asked for and have not been met.
    #[must_use]
    pub fn left(&self) -> usize {
        self.with(|rules| rules.iter().map(|rule| rule.left).sum())
    }

    /// Forgets all faults to come.
    pub fn clear(&self) {
        self.with(Vec::clear);
    }

    pub(super) fn take(&self, method: &str, resource_type: &str, path: &str) -> Option<Fault> {
        self.with(|rules| {
            let hit = rules.iter_mut().find(|r| r.left > 0 && r.matches.matches(method, resource_type, path))?;
            hit.left -= 1;
            Some(hit.fault.clone())
        })
    }

    fn with<R>(&self, change: impl FnOnce(&mut Vec<Rule>) -> R) -> R {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.with(|rules| f.debug_list().entries(rules.iter()).finish())
    }
}
