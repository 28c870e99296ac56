#![no_main]

use goldfleet_inside::MemoryFile;
use goldfleet_inside::pe::Pe;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut file = MemoryFile(data.to_vec());
    if let Ok(pe) = Pe::read(&mut file) {
        let _ = (pe.sbat(&mut file), pe.issuers(&mut file), pe.content(&mut file, ".linux", 1 << 20));
    }
});
