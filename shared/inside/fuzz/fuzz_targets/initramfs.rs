#![no_main]

use goldfleet_inside::MemoryFile;
use goldfleet_inside::budget::{Budget, Limits};
use goldfleet_inside::initramfs::Initramfs;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let budget = Budget::new(Limits::default());
    let _ = Initramfs::read(&mut MemoryFile(data.to_vec()), &budget);
    assert!(budget.peak_memory() <= Limits::default().memory);
});
