//! Registry hives against hivex: what hivexregedit writes, we read as hivexsh does.
#![allow(clippy::unwrap_used)]

mod tools;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use goldfleet_inside::MemoryFile;
use goldfleet_inside::hive::{Hive, Key};
use tools::{content, empty_hive, run, text};

/// A value as it must be read: type and data.
type Values = BTreeMap<String, (u32, Vec<u8>)>;

/// Keys with values of all types and lengths, as a file for hivexregedit, and as they must be read.
fn registry() -> (String, BTreeMap<String, Values>) {
    let mut file = "Windows Registry Editor Version 5.00\n\n".to_owned();
    let mut keys = BTreeMap::new();
    let mut key = |path: String, values: Values| {
        writeln!(file, "[\\{path}]").unwrap();
        for (name, (kind, data)) in &values {
            let name = if name.is_empty() { "@".to_owned() } else { format!("\"{name}\"") };
            let bytes: Vec<String> = data.iter().map(|byte| format!("{byte:02x}")).collect();
            writeln!(file, "{name}=hex({kind:x}):{}", bytes.join(",")).unwrap();
        }
        writeln!(file).unwrap();
        keys.insert(path, values);
    };
    key("ControlSet001".into(), Values::new());
    key("ControlSet001\\Services".into(), Values::new());
    for index in 0..1200_u64 {
        let length = usize::try_from(index * index % 2000).unwrap();
        let values = [
            ("Start".to_owned(), (4, u32::try_from(index % 5).unwrap().to_le_bytes().to_vec())),
            (format!("Value {index}"), (3, content(index, length))),
            (String::new(), (1, "default\0".encode_utf16().flat_map(u16::to_le_bytes).collect())),
        ];
        key(format!("ControlSet001\\Services\\service{index}"), values.into_iter().collect());
    }
    key("Long".into(), [("long".to_owned(), (3, content(7, 40_000)))].into_iter().collect());
    (file, keys)
}

fn collect(key: &Key<'_, '_>, path: &str, keys: &mut BTreeMap<String, Values>) {
    for subkey in key.subkeys().unwrap() {
        let subkey = subkey.unwrap();
        let path = if path.is_empty() { subkey.name().to_owned() } else { format!("{path}\\{}", subkey.name()) };
        let values = subkey.values().unwrap();
        let values =
            values.map(Result::unwrap).map(|value| (value.name().to_owned(), (value.kind(), value.data().unwrap())));
        keys.insert(path.clone(), values.collect());
        collect(&subkey, &path, keys);
    }
}

fn make(folder: &Path) -> (String, BTreeMap<String, Values>) {
    let hive = folder.join("hive");
    fs::write(&hive, empty_hive()).unwrap();
    let (file, keys) = registry();
    let merged = folder.join("merge.reg");
    fs::write(&merged, file).unwrap();
    run("libwin-hivex-perl", "hivexregedit", &["--merge", text(&hive), text(&merged)]);
    (text(&hive).to_owned(), keys)
}

#[test]
fn all_keys_and_values_are_equal_to_what_hivexregedit_wrote() {
    let folder = tempfile::tempdir().unwrap();
    let (path, expected) = make(folder.path());
    let hive = Hive::open(Box::new(MemoryFile(fs::read(&path).unwrap()))).unwrap();
    let mut found = BTreeMap::new();
    collect(&hive.root().unwrap(), "", &mut found);
    assert!(found.keys().eq(expected.keys()), "{} and {} keys", found.len(), expected.len());
    for (key, values) in &expected {
        assert!(found[key] == *values, "{key} differs");
    }
}

#[test]
fn the_listing_of_hivexsh_is_equal_to_ours() {
    let folder = tempfile::tempdir().unwrap();
    let (path, _) = make(folder.path());
    let script = folder.path().join("script");
    fs::write(&script, "cd \\ControlSet001\\Services\nls\n").unwrap();
    let listed = run("libhivex-bin", "hivexsh", &["-f", text(&script), &path]);
    let mut theirs: Vec<&str> = listed.lines().collect();
    theirs.sort_unstable();
    let hive = Hive::open(Box::new(MemoryFile(fs::read(&path).unwrap()))).unwrap();
    let services = hive.key("controlset001\\services").unwrap().unwrap().subkeys().unwrap();
    let mut ours: Vec<String> = services.map(|key| key.unwrap().name().to_owned()).collect();
    ours.sort_unstable();
    assert_eq!(ours, theirs);
}
