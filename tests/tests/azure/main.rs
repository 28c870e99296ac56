//! The Azure adapters and the programs with them, against the storage emulator and the double of Resource Manager.

mod arm;
mod azurite;
mod clones;
mod cloud_sources;
mod doctor;
mod engine;
mod exports;
mod galleries;
mod images;
mod platform;
mod probe;
mod proxy;
mod region;
mod resend_after_kill;
mod resources;
mod rollouts;
mod secrets;
mod signed_in;
mod syncs;
