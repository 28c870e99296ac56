//! Which versions are the latest ones.

use goldfleet_model::resource::{ResourceId, VersionNumber};

/// A version of a definition, for a promotion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Its id.
    pub id: ResourceId,
    /// Its number.
    pub number: VersionNumber,
    /// Whether readers may get it as the latest version in some region.
    pub may_be_latest: bool,
    /// Whether this fleet created it.
    pub is_ours: bool,
}

/// What a promotion in one gallery needs besides the version itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Step {
    /// The versions that must not be the latest ones any more.
    pub exclude: Vec<ResourceId>,
}

/// Why a promotion is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// A newer version is the latest one, and the promotion would move it backwards.
    Backwards(VersionNumber),
    /// A newer version is the latest one, and goldfleet did not create it.
    ForeignLatest(VersionNumber),
}

/// What makes a version the latest one of its definition. Versions are compared as numbers.
///
/// # Errors
/// [`Refused`] if a newer version is the latest one, and `backwards` is not set or the newer version is foreign.
pub fn step(promoted: VersionNumber, others: &[Candidate], backwards: bool) -> Result<Step, Refused> {
    let newer: Vec<&Candidate> = others.iter().filter(|other| other.may_be_latest && other.number > promoted).collect();
    match newer.iter().map(|other| other.number).max() {
        Some(latest) if !backwards => Err(Refused::Backwards(latest)),
        _ => match newer.iter().find(|other| !other.is_ours) {
            Some(foreign) => Err(Refused::ForeignLatest(foreign.number)),
            None => Ok(Step { exclude: newer.into_iter().map(|other| other.id.clone()).collect() }),
        },
    }
}
