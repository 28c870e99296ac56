//! Any file, with its format detected.
#![no_main]

mod common;

libfuzzer_sys::fuzz_target!(|data: &[u8]| common::read(data.to_vec(), None));
