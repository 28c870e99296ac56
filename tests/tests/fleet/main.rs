//! A fleet in the process of the test, on the embedded adapters.

mod chunks;
mod collecting;
mod dashboard;
mod endings;
mod fan_out;
mod forgetting;
mod history;
mod one_name;
mod plan;
mod rings;
mod steps;
mod verify;
mod vhds;
