//! Bounds of lists that a service returns in pages.

use std::collections::HashSet;

use super::error::{ErrorKind, PortError, PortResult};

/// The largest number of pages of one list. A page has up to 1,000 rows or 5,000 blobs, so no real list is longer.
const MAX_PAGES: usize = 100_000;

/// The markers of the next page that a service returned for one list.
#[derive(Debug, Default)]
pub struct Pages(HashSet<String>);

impl Pages {
    /// Checks the marker of the next page before it is used. `what` names the list.
    ///
    /// # Errors
    /// `Unavailable` if the service returned the marker before, so that the list would never end, or if the list has
    /// too many pages.
    pub fn check(&mut self, marker: &str, what: &str) -> PortResult<()> {
        if self.0.len() >= MAX_PAGES {
            let message = format!("{what}: the list has more than {MAX_PAGES} pages");
            return Err(PortError::new(ErrorKind::Unavailable, message).with_code("list-endless"));
        }
        if !self.0.insert(marker.to_owned()) {
            let message = format!("{what}: a page of the list names an earlier one as the next");
            return Err(PortError::new(ErrorKind::Unavailable, message).with_code("list-endless"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cycle_is_detected() {
        let mut pages = Pages::default();
        for marker in ["a", "b"] {
            pages.check(marker, "a list").unwrap();
        }
        assert_eq!(pages.check("a", "a list").unwrap_err().code, "list-endless");
    }
}
