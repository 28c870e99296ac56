//! Image versions that are published to galleries.
#![expect(clippy::unwrap_used, reason = "tests")]

mod faults;
mod promotions;
mod publications;
mod refusals;
mod regions;
mod scene;
