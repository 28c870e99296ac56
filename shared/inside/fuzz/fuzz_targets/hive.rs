#![no_main]

use goldfleet_inside::MemoryFile;
use goldfleet_inside::bcd;
use goldfleet_inside::hive::{Hive, HiveError, Key};
use goldfleet_inside_fuzz::seal_hive;
use libfuzzer_sys::fuzz_target;

fn walk(key: &Key<'_, '_>, depth: usize) -> Result<(), HiveError> {
    for value in key.values()? {
        let value = value?;
        let _ = (value.data(), value.dword(), value.string(), value.strings());
    }
    if depth > 0 {
        for subkey in key.subkeys()? {
            walk(&subkey?, depth - 1)?;
        }
    }
    Ok(())
}

fuzz_target!(|data: &[u8]| {
    let mut bytes = data.to_vec();
    seal_hive(&mut bytes);
    let _ = bcd::read(Box::new(MemoryFile(bytes.clone())));
    if let Ok(hive) = Hive::open(Box::new(MemoryFile(bytes)))
        && let Ok(root) = hive.root()
    {
        let _ = walk(&root, 32);
    }
});
