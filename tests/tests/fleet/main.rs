//! Fleets in the process of the test, on the embedded adapters.

mod added_kind;
mod artifact_records;
mod bounded_reads;
mod chunk_retention;
mod cloud_sources;
mod dashboard;
mod data_disks;
mod fan_out;
mod garbage_collection;
mod image_name_conflicts;
mod job_end;
mod killed_seeds;
mod killed_uploads;
mod large_jobs;
mod machines;
mod plan;
mod platform;
mod recovery;
mod region;
mod retention;
mod rings;
mod single_faults;
mod snapshots;
mod sources;
mod staged_vhds;
mod verify;
