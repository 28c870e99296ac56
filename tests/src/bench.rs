//! Benchmarks that also run as short tests.
//!
//! `cargo bench` measures at full size. `cargo test --bench NAME` runs the same code at a small size, so that a benchmark
//! that no longer works is noticed. Times and ratios of a short run say nothing and are not judged.

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
