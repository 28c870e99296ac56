//! What a probe measured of the platform between the places of a sync. None of it is documented.

use crate::plan::Method;

/// Why something is not copied.
pub(crate) type Refusal = (&'static str, String);

/// The results for the region of a source and a destination. None where nothing is measured: then the safe way is
/// taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Measured {
    /// Whether Copy creates an incremental snapshot in the other subscription, in the same region.
    pub copy: Option<bool>,
    /// Whether CopyStart copies to the destination: inside the region, or to another region and subscription.
    pub copy_start: Option<bool>,
    /// Whether a copy in the region of the destination can name a disk encryption set.
    pub encryption_set: Option<bool>,
}

impl Measured {
    /// How an incremental snapshot is copied to another subscription in its region: without results by CopyStart.
    pub(crate) fn within_region(self) -> Result<Method, Refusal> {
        match (self.copy, self.copy_start) {
            (Some(true), _) | (None, Some(false)) => Ok(Method::Copy),
            (Some(false), Some(false)) => Err(refused(
                "neither Copy nor CopyStart creates an incremental snapshot in another subscription of this region",
            )),
            (_, Some(true) | None) => Ok(Method::CopyStart),
        }
    }

    /// Checks a copy to another region of another subscription.
    pub(crate) fn check_across(self) -> Result<(), Refusal> {
        match self.copy_start {
            Some(false) => Err(refused(
                "CopyStart does not copy to this subscription and region; copy within the subscription first",
            )),
            Some(true) | None => Ok(()),
        }
    }

    /// Checks a copy that names a disk encryption set.
    pub(crate) fn check_encryption(self) -> Result<(), Refusal> {
        match self.encryption_set {
            Some(false) => Err(refused("a copy in this region cannot get a disk encryption set")),
            Some(true) | None => Ok(()),
        }
    }
}

fn refused(what: &str) -> Refusal {
    ("not-supported-here", format!("'goldfleet doctor --probe' found that {what}"))
}
