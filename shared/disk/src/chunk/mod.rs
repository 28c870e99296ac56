//! From a disk to chunks: windows are read without their holes, zero runs are removed, the rest is packed, hashed and
//! summed.
//!
//! Hash and threshold were chosen by the benchmark `cargo bench -p goldfleet-tests --bench scan`; its figures are in
//! `docs/performance.md`. BLAKE3 takes a fifth of the time of SHA-256 (9.3 GiB/s on a core compared with 1.9), and
//! still takes most of the time of a scan.

mod buffer;
mod pack;
mod scan;
mod zero;

pub use buffer::WindowBuffer;
pub use pack::{PackedChunk, PackedRun, ZERO_RUN_THRESHOLD, pack, pack_with};
pub use scan::{read_window, windows};
pub use zero::is_zero;
