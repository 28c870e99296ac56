//! VHDX. The input is distributed over the places of the structures, and checksums are computed again.
#![no_main]

mod common;
#[path = "../../tests/common/reseal.rs"]
mod reseal;
#[path = "../../tests/common/sums.rs"]
mod sums;

const K: usize = 1 << 10;
const M: usize = 1 << 20;

/// The headers, a region table, three entries of the log, the metadata table and its items, the block table, and a
/// block.
const PLACES: [usize; 10] = [64 * K, 128 * K, 192 * K, M, M + 4 * K, M + 8 * K, 2 * M, 2 * M + 64 * K, 3 * M, 4 * M];

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let mut file = common::scattered(data, &PLACES);
    common::put(&mut file, 0, b"vhdxfile");
    // A data sector of the log ends with a part of the entry's sequence number, behind what the input can reach.
    let sequence = [file[M + 16], file[M + 17], file[M + 18], file[M + 19]];
    for sector in [M + 4 * K, M + 8 * K] {
        common::put(&mut file, sector + 4092, &sequence);
    }
    reseal::reseal(&mut file);
    common::read(file, Some(goldfleet_disk::StatedFormat::Vhdx));
});
