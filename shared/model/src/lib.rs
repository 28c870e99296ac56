//! The domain types: no I/O, no clock, no randomness.
//!
//! [`state`] contains the transition functions of jobs and operations. Every other module contains the types of its
//! name.

pub mod artifact;
pub mod checksum;
pub mod chunk_set;
pub mod document;
pub mod event;
pub mod graph;
pub mod hash;
pub mod ids;
pub mod image;
pub mod image_pattern;
pub mod job;
pub mod manifest;
pub mod message;
pub mod naming;
pub mod operation;
pub mod origin;
pub mod ranges;
pub mod resource;
pub mod selector;
mod serde_string;
pub mod sink;
pub mod state;
pub mod store;
pub mod system;
pub mod target;
pub mod tenants;
pub mod text;
pub mod tree;
pub mod upload;
pub mod value;
