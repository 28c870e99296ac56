//! How an image version becomes a gallery version, and stays one in every wanted region.
//!
//! - [`settings`]: what the configuration says about a gallery.
//! - [`spec`]: what is published, with the bodies of the requests.
//! - [`graph`]: the rows of a job. Every route that has a golden snapshot in a region yields them.
//! - [`converge`]: what must change at a version, and the state of its regions.
//! - [`publication`]: what goldfleet remembers about a version after its job has ended.
//! - [`rota`]: which versions a pass of the reconciler checks.
//! - [`promotion`]: which versions are the latest ones.
//! - [`temporary`]: the gallery version by which the content of a managed image is read.
//!
//! Nothing here calls a service.

pub mod converge;
pub mod graph;
pub mod promotion;
pub mod publication;
pub mod rota;
pub mod settings;
pub mod spec;
pub mod temporary;
#[cfg(test)]
mod tests;
