//! Partition tables of a raw disk. Checksums are computed again.
#![no_main]

mod common;
#[path = "../../tests/common/reseal.rs"]
mod reseal;
#[path = "../../tests/common/sums.rs"]
mod sums;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let mut disk = data.to_vec();
    reseal::reseal(&mut disk);
    common::read(disk, Some(goldfleet_disk::StatedFormat::Raw));
});
