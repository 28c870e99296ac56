//! Dynamic and differencing VHDs. Checksums are computed again, so that changes reach the code behind them.
#![no_main]

mod common;
#[path = "../../tests/common/reseal.rs"]
mod reseal;
#[path = "../../tests/common/sums.rs"]
mod sums;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    // An even first byte: the input is the whole file. An odd one: the footer is a copy of the first 512 bytes, so that
    // a change of one field is a change of both copies.
    let Some((kind, rest)) = data.split_first() else { return };
    let mut file = rest.to_vec();
    if kind % 2 == 1 && file.len() >= 512 {
        file.extend_from_within(..512);
        let footer = file.len() - 512;
        common::put(&mut file, footer, b"conectix");
    }
    reseal::reseal(&mut file);
    common::read(file, Some(goldfleet_disk::StatedFormat::Vhd));
});
