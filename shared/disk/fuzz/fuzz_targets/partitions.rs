//! Partition tables of a raw disk, with their checksums made right.
#![no_main]

mod common;
#[path = "../../tests/common/reseal.rs"]
mod reseal;
#[path = "../../tests/common/sums.rs"]
mod sums;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let mut disk = data.to_vec();
    // Checksums of tables are in the header, so that the entries have to be sealed first; `reseal` does both.
    reseal::reseal(&mut disk);
    common::read(disk, Some(goldfleet_disk::StatedFormat::Raw));
});
