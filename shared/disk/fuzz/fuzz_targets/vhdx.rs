//! VHDX: the input is spread over the places of the structures, and their checksums are made right.
#![no_main]

mod common;
#[path = "../../tests/common/reseal.rs"]
mod reseal;
#[path = "../../tests/common/sums.rs"]
mod sums;

const K: usize = 1 << 10;
const M: usize = 1 << 20;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let places = [64 * K, 128 * K, 192 * K, M, M + 4 * K, M + 8 * K, 2 * M, 2 * M + 64 * K, 3 * M, 4 * M];
    let mut file = common::scattered(data, &places);
    common::put(&mut file, 0, b"vhdxfile");
    reseal::reseal(&mut file);
    common::read(file, Some(goldfleet_disk::StatedFormat::Vhdx));
});
