#![no_main]

use goldfleet_inside::fs::{btrfs::Btrfs, ext::Ext, xfs::Xfs};
use goldfleet_inside_fuzz::{disk, read};
use libfuzzer_sys::fuzz_target;

// The magic number selects the file system. Make the corpus without checksums, because no target recomputes them.
fuzz_target!(|data: &[u8]| {
    let (disk, budget) = disk(data.to_vec());
    if data.starts_with(b"XFSB") {
        if let Ok(fs) = Xfs::open(disk, budget) {
            read(&fs);
        }
    } else if data.get(0x1_0040..0x1_0048) == Some(b"_BHRfS_M") {
        if let Ok(fs) = Btrfs::open(disk, budget) {
            read(&fs);
        }
    } else if let Ok(fs) = Ext::open(disk, budget) {
        read(&fs);
    }
});
