#![no_main]

use goldfleet_inside::fs::ntfs::Ntfs;
use goldfleet_inside_fuzz::{SparseDisk, read};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let (disk, budget) = SparseDisk::new(data).seal_ntfs().windowed();
    if let Ok(fs) = Ntfs::open(disk, budget) {
        read(&fs);
    }
});
