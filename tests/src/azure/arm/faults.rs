//! Faults that a test injects while the double runs.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Selects the requests to which a fault applies.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Matches {
    /// The method. None for any.
    pub method: Option<String>,
    /// The resource type, such as `Microsoft.Compute/images`. None for any.
    pub resource_type: Option<String>,
    /// A text that path and query must contain, ignoring case. None for any.
    pub containing: Option<String>,
}

impl Matches {
    /// All requests.
    #[must_use]
    pub fn all() -> Self {
        Self::default()
    }

    /// Requests with a method for a resource type.
    #[must_use]
    pub fn of(method: &str, resource_type: &str) -> Self {
        Self { method: Some(method.to_owned()), resource_type: Some(resource_type.to_owned()), containing: None }
    }

    /// Polls of operations on images, at either of their addresses.
    #[must_use]
    pub fn polls() -> Self {
        Self::of("GET", "Microsoft.Compute/locations/capsOperations")
    }

    /// Also requires that path and query contain a text.
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

/// What happens to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The response has this status, and the request has no effect. `retry_after` is in seconds.
    Status(u16, Option<u64>),
    /// The request has its effect, but the response has this status, as from a gateway that timed out.
    StatusAfterEffect(u16),
    /// The connection is reset, and the request has no effect.
    ResetBeforeEffect,
    /// The request has its effect, and the connection is reset.
    ResetAfterEffect,
    /// The request is delayed, and then handled as usual.
    Delay(Duration),
}

/// The faults that were injected and have not happened yet. Clones share them.
#[derive(Clone, Default)]
pub struct Faults(Arc<Mutex<Vec<Rule>>>);

#[derive(Debug)]
struct Rule {
    matches: Matches,
    left: usize,
    fault: Fault,
}

impl Faults {
    /// Applies a fault to the next `times` requests that match. Earlier rules take precedence.
    pub fn next(&self, times: usize, matches: Matches, fault: Fault) {
        self.with(|rules| rules.push(Rule { matches, left: times, fault }));
    }

    /// The number of injected faults that have not happened yet.
    #[must_use]
    pub fn left(&self) -> usize {
        self.with(|rules| rules.iter().map(|rule| rule.left).sum())
    }

    /// Removes all faults that have not happened yet.
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
