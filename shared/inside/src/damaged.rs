//! How much the tests of damaged structures try.

/// Number of damaged structures: `GOLDFLEET_DAMAGED`, or a few hundred.
pub(crate) fn cases() -> u32 {
    std::env::var("GOLDFLEET_DAMAGED").ok().and_then(|n| n.parse().ok()).unwrap_or(400)
}
