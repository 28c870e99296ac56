//! Jobs without Azure.
//!
//! - [`demo`]: a whole rollout of made-up images in a directory of this machine.
//! - [`rehearse`]: a job on the modelled cloud, in virtual time.

pub mod demo;
mod regions;
pub mod rehearse;
