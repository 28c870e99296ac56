//! Benchmarks that also run as short tests.
//!
//! `cargo bench` measures at full size. `cargo test --bench NAME` runs the same code at a small size, so that a broken
//! benchmark is noticed. The times and ratios of a short run are meaningless and are not asserted.

/// Whether this benchmark runs as a short test: only `cargo bench` passes `--bench`.
#[must_use]
pub fn is_short() -> bool {
    !std::env::args().any(|argument| argument == "--bench")
}

/// `full` for a measurement, `short` for a short test.
#[must_use]
pub fn size<T>(full: T, short: T) -> T {
    if is_short() { short } else { full }
}
