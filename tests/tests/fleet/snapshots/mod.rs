//! Syncs of snapshots: plans of `goldfleet-snapshots`, performed by the real dispatcher and workers.
#![expect(clippy::unwrap_used, clippy::missing_panics_doc, reason = "tests")]

mod copies;
mod directory;
mod scene;
