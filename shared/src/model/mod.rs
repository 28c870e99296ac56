//! The words of the domain as plain types, without I/O.

pub mod chunk_set;
pub mod event;
pub mod hash;
pub mod ids;
pub mod image;
pub mod job;
pub mod manifest;
pub mod message;
pub mod naming;
pub mod operation;
pub mod selector;
pub mod store;
pub mod target;
pub mod upload;
