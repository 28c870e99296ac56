//! Dynamic and differencing VHDs, with their checksums made right.
#![no_main]

mod common;
#[path = "../../tests/common/reseal.rs"]
mod reseal;
#[path = "../../tests/common/sums.rs"]
mod sums;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let mut file = data.to_vec();
    if file.len() >= 512 {
        let end = file.len() - 512;
        common::put(&mut file, end, b"conectix");
    }
    reseal::reseal(&mut file);
    common::read(file, Some(goldfleet_disk::StatedFormat::Vhd));
});
