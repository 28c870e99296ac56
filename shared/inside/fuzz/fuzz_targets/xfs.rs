#![no_main]

use goldfleet_inside::fs::xfs::Xfs;
use goldfleet_inside_fuzz::{SparseDisk, read};
use libfuzzer_sys::fuzz_target;

// lamxfs does not verify checksums when it is built for fuzzing.
fuzz_target!(|data: &[u8]| {
    let (disk, budget) = SparseDisk::new(data).windowed();
    if let Ok(fs) = Xfs::open(disk, budget) {
        read(&fs);
    }
});
