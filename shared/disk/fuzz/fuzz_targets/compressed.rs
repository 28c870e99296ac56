//! Compressed streams. The first byte of the input selects the compression, the rest is the stream.
#![no_main]

mod common;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Some((kind, rest)) = data.split_first() else { return };
    let mut file = rest.to_vec();
    let magic: &[u8] = match kind % 4 {
        0 => &[0x1f, 0x8b, 8],
        1 => &[0xfd, b'7', b'z', b'X', b'Z', 0],
        2 => &[0x28, 0xb5, 0x2f, 0xfd],
        _ => b"BZh91AY&SY",
    };
    common::put(&mut file, 0, magic);
    common::read(file, Some(goldfleet_disk::StatedFormat::Raw));
});
