#![no_main]

use goldfleet_inside::fs::ext::Ext;
use goldfleet_inside_fuzz::{SparseDisk, read};
use libfuzzer_sys::fuzz_target;

// The seeds have no checksums, because none are recomputed.
fuzz_target!(|data: &[u8]| {
    let (disk, budget) = SparseDisk::new(data).windowed();
    if let Ok(fs) = Ext::open(disk, budget) {
        read(&fs);
    }
});
