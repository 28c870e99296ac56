//! qcow2 images, which have no checksums.
#![no_main]

mod common;

libfuzzer_sys::fuzz_target!(|data: &[u8]| common::read(data.to_vec(), Some(goldfleet_disk::StatedFormat::Qcow2)));
