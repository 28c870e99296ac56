//! The command line of `goldfleet`. Results go to standard output, progress and logs to standard error.

pub mod arguments;
pub mod check;
pub mod choose;
pub mod cleanup;
pub mod complete;
pub mod convert;
pub mod demo;
pub mod dispatch;
pub mod doctor;
pub mod documents;
pub mod error;
pub mod explain;
pub mod help;
pub mod images;
pub mod jobs;
pub mod logs;
pub mod output;
pub mod plan;
pub mod rehearse;
pub mod run;
pub mod setup;
pub mod table;
pub mod targets;
pub mod verify;
pub mod version;
pub mod view;
