//! The list of the snapshots of a resource group, read page by page.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::id::{GroupRef, SnapshotId};
use crate::snapshot::{Snapshot, SnapshotError};

/// A page that cannot be read. The listing is incomplete then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PageError {
    /// The body is not JSON.
    #[error("the page is not valid JSON: {0}")]
    Syntax(String),
    /// The page has no list.
    #[error("the page has no array \"value\"")]
    NoItems,
    /// The link to the next page is not text.
    #[error("field nextLink of the page is not text")]
    Link,
}

/// A snapshot that was listed and cannot be used in this run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetAside {
    /// Its id, if that could be read.
    pub id: Option<SnapshotId>,
    /// Why it cannot be used.
    pub error: SnapshotError,
}

/// Whether all pages of a listing were read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Coverage {
    /// The last page was read.
    Complete,
    /// Pages are missing, for this reason. Nothing can be concluded from the absence of a snapshot.
    Incomplete(String),
}

/// The snapshots of a resource group.
#[derive(Debug, Clone, PartialEq)]
pub struct Listing {
    /// The group.
    pub group: GroupRef,
    /// The snapshots, by name in lower case.
    pub snapshots: BTreeMap<String, Snapshot>,
    /// The items that cannot be used.
    pub set_aside: Vec<SetAside>,
    /// Whether all pages were read.
    pub coverage: Coverage,
}

impl Listing {
    /// Whether all pages were read.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.coverage == Coverage::Complete
    }

    /// Whether an item could not be identified. Then any snapshot may be in the group.
    #[must_use]
    pub fn has_unidentified(&self) -> bool {
        self.set_aside.iter().any(|item| item.id.is_none())
    }

    /// Whether an item with this name was set aside.
    #[must_use]
    pub fn is_set_aside(&self, name_key: &str) -> bool {
        self.set_aside.iter().any(|item| item.id.as_ref().is_some_and(|id| id.name_key() == name_key))
    }
}

/// Reads a listing page by page. Only the snapshots are kept.
#[derive(Debug)]
pub struct ListingReader {
    listing: Listing,
    /// Whether the last page that was read names no further page.
    ended: bool,
    failure: Option<String>,
}

impl ListingReader {
    /// Begins the listing of a group.
    #[must_use]
    pub fn new(group: GroupRef) -> Self {
        let coverage = Coverage::Complete;
        let listing = Listing { group, snapshots: BTreeMap::new(), set_aside: Vec::new(), coverage };
        Self { listing, ended: false, failure: None }
    }

    /// Adds a page: the body of a response. Returns the link to the next page, if there is one.
    ///
    /// # Errors
    /// [`PageError`] if the page cannot be read. [`ListingReader::finish`] then reports an incomplete listing.
    pub fn page(&mut self, body: &[u8]) -> Result<Option<String>, PageError> {
        match serde_json::from_slice(body) {
            Ok(page) => self.json_page(&page),
            Err(error) => {
                let error = PageError::Syntax(error.to_string());
                self.fail(&error.to_string());
                Err(error)
            }
        }
    }

    /// As [`ListingReader::page`], for a body that is parsed.
    ///
    /// # Errors
    /// As [`ListingReader::page`].
    pub fn json_page(&mut self, page: &Value) -> Result<Option<String>, PageError> {
        let result = self.add(page);
        if let Err(error) = &result {
            self.fail(&error.to_string());
        }
        result
    }

    /// Records that a page has an item that cannot be read. If `id` is none, it may be any snapshot. `name` is what the
    /// service calls it.
    pub fn unreadable(&mut self, id: Option<SnapshotId>, name: &str, reason: &str) {
        let id = id.filter(|id| id.group == self.listing.group);
        let error = match &id {
            Some(_) => SnapshotError::Unreadable(reason.to_owned()),
            None => SnapshotError::Unnamed { name: name.to_owned(), reason: reason.to_owned() },
        };
        self.set_aside(id, error);
    }

    /// Adds an item of a page in the service's JSON. One that cannot be used is set aside.
    pub fn item(&mut self, item: &Value) {
        match Snapshot::from_json(item) {
            Ok(snapshot) => self.insert(snapshot),
            Err(error) => {
                let id = Snapshot::id_in(item).filter(|id| id.group == self.listing.group);
                self.set_aside(id, error);
            }
        }
    }

    /// Records that all items of a page were added.
    pub fn end_page(&mut self, is_last: bool) {
        self.ended = is_last;
    }

    /// Whether a page could not be read or fetched.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.failure.is_some()
    }

    /// Records that a page could not be fetched.
    pub fn fail(&mut self, reason: &str) {
        self.failure.get_or_insert_with(|| reason.to_owned());
    }

    /// Ends the listing.
    #[must_use]
    pub fn finish(mut self) -> Listing {
        let unfinished = || "the list ended before its last page".to_owned();
        let reason = self.failure.take().or_else(|| (!self.ended).then(unfinished));
        self.listing.coverage = reason.map_or(Coverage::Complete, Coverage::Incomplete);
        self.listing
    }

    fn add(&mut self, page: &Value) -> Result<Option<String>, PageError> {
        let items = page.get("value").and_then(Value::as_array).ok_or(PageError::NoItems)?;
        let next = match page.get("nextLink") {
            None | Some(Value::Null) => None,
            Some(Value::String(link)) => Some(link.clone()).filter(|link| !link.is_empty()),
            Some(_) => return Err(PageError::Link),
        };
        for item in items {
            self.item(item);
        }
        self.end_page(next.is_none());
        Ok(next)
    }

    /// A snapshot can be on two pages, if others are created or deleted while the pages are read. The later page is
    /// newer.
    fn insert(&mut self, snapshot: Snapshot) {
        let name = snapshot.id.name_key();
        if snapshot.id.group != self.listing.group {
            return self.set_aside(None, SnapshotError::OtherGroup);
        }
        match self.listing.snapshots.get(&name) {
            Some(earlier) if earlier.unique_id != snapshot.unique_id => {
                self.set_aside(Some(snapshot.id), SnapshotError::Recreated);
            }
            _ if self.listing.is_set_aside(&name) => {}
            _ => drop(self.listing.snapshots.insert(name, snapshot)),
        }
    }

    fn set_aside(&mut self, id: Option<SnapshotId>, error: SnapshotError) {
        if let Some(id) = &id {
            self.listing.snapshots.remove(&id.name_key());
        }
        self.listing.set_aside.push(SetAside { id, error });
    }
}
