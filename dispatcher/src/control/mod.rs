//! Commands and services on jobs, images and stores, independent of a terminal.
//!
//! - [`job_store`]: reads and changes the rows of jobs. [`context`]: this, the ports and the configuration, for what
//!   needs them together.
//! - [`setup`], [`doctor`]: create and check what a fleet needs.
//! - [`check`]: the check of a disk image and of the operating system inside.
//! - [`upload`]: from a disk image to chunks and a manifest in the source store.
//! - [`request`], [`fan_out`]: from a request to a job, its operations and their messages.
//! - [`reconcile`], [`service`]: the reconciler, and the loop that runs it; [`rings`]: the order of a job's targets.
//! - [`status`], [`approve`], [`retry`], [`cancel`], [`cleanup`], [`garbage_collection`] (with [`live`]),
//!   [`retention`], [`orphans`]: the commands on jobs, chunks, history and temporaries; [`dead_letters`]: which are stale.
//! - [`store_inventory`], [`verify`]: where the chunks of a version are, and whether they are intact.
//! - [`artifacts`]: reads a version from the source store; [`images`]: the uploaded versions; [`explain`]: the meaning
//!   of failure codes; [`operator`]: who runs a command;
//!   [`suggest`]: command lines in messages; `tagged`: resources with tags of this fleet;
//!   `versions`, `machine_disks`: images, gallery versions and machines as sources.
//! - [`snapshots`]: runs of syncs, and copies of snapshots on request.
//! - [`machines`]: clones of virtual machines.
//! - [`galleries`]: gallery versions: their plan, the watch over their regions, and which one is the latest.
//! - [`platform`]: disks, snapshots, images, gallery versions and machines that become image versions by copies that
//!   the platform makes.
//! - [`region`]: uploaded versions that reach the targets of a region by one golden snapshot.
//! - [`local`]: a dispatcher and a worker in one process.

pub mod approve;
pub mod artifacts;
pub mod cancel;
pub mod check;
pub mod cleanup;
pub mod context;
pub mod dead_letters;
pub mod doctor;
pub mod explain;
pub mod fan_out;
pub mod galleries;
pub mod garbage_collection;
pub mod images;
pub mod job_store;
pub mod live;
pub mod local;
pub(crate) mod machine_disks;
pub mod machines;
pub(crate) mod measured;
pub mod operator;
pub mod orphans;
pub(crate) mod other_tenant;
pub mod platform;
pub mod reconcile;
pub mod region;
pub mod request;
pub mod retention;
pub mod retry;
pub mod rings;
pub mod routes;
pub(crate) mod sample_regions;
pub mod service;
pub mod setup;
pub mod snapshots;
pub mod status;
pub mod store_inventory;
pub mod suggest;
pub(crate) mod tagged;
pub mod upload;
pub mod verify;
pub(crate) mod versions;
