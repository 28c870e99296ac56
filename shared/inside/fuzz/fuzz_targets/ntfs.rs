#![no_main]

use goldfleet_inside::fs::ntfs::Ntfs;
use goldfleet_inside_fuzz::{disk, read, seal_ntfs};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut bytes = data.to_vec();
    seal_ntfs(&mut bytes);
    let (disk, budget) = disk(bytes);
    if let Ok(fs) = Ntfs::open(disk, budget) {
        read(&fs);
    }
});
