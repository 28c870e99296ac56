//! Galleries that receive uploaded versions from golden snapshots.

mod faults;
mod publications;
mod scene;
