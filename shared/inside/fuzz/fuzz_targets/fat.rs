#![no_main]

use goldfleet_inside::fs::fat::Fat;
use goldfleet_inside_fuzz::{SparseDisk, read};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let (disk, budget) = SparseDisk::new(data).windowed();
    if let Ok(fs) = Fat::open(disk, budget) {
        read(&fs);
    }
});
