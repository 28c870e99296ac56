#![no_main]

use goldfleet_inside::fs::btrfs::Btrfs;
use goldfleet_inside_fuzz::{SparseDisk, read};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let (disk, budget) = SparseDisk::new(data).seal_btrfs().windowed();
    if let Ok(fs) = Btrfs::open(disk, budget) {
        read(&fs);
    }
});
