//! Jobs without Azure.
//!
//! - [`demo`]: a complete rollout of generated images in a local directory.
//! - [`rehearse`]: a job on the modelled cloud, in virtual time.

pub mod demo;
pub mod rehearse;
