#![no_main]

use std::sync::Arc;

use goldfleet_inside::budget::Limits;
use goldfleet_inside::{Options, inspect};
use goldfleet_inside_fuzz::SparseDisk;
use libfuzzer_sys::fuzz_target;

// A whole disk: partition tables, LVM, file systems, and the configurations in them. A panic is a finding, which fails
// here.
fuzz_target!(|data: &[u8]| {
    let inspection = inspect(Arc::new(SparseDisk::new(data).seal_ntfs()), &Options::default());
    let failed = inspection.findings.iter().find(|finding| finding.message.contains("the inspection failed"));
    assert!(failed.is_none(), "{failed:?}");
    assert!(inspection.usage.memory <= Limits::default().memory, "{:?}", inspection.usage);
});
