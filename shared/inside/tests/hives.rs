//! Registry hives against hivex: what hivexregedit writes, we read as hivexsh does.
#![allow(clippy::unwrap_used)]

mod tools;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use goldfleet_inside::MemoryFile;
use goldfleet_inside::hive::{Hive, Key};
use tools::{content, run, text};

/// A hive with only a root key: the smallest valid one.
fn empty() -> Vec<u8> {
    let cell = |content: &[u8]| {
        let length = (content.len() + 4).next_multiple_of(8);
        let mut cell = (-i32::try_from(length).unwrap()).to_le_bytes().to_vec();
        cell.extend(content);
        cell.resize(length, 0);
        cell
    };
    let mut key = vec![0; 0x4c];
    key[..2].copy_from_slice(b"nk");
    key[2] = 0x2c;
    for at in [0x1c, 0x20, 0x28, 0x30] {
        key[at..at + 4].fill(0xff);
    }
    key[0x48] = 4;
    key.extend(b"ROOT");
    // The security descriptor is shared by all keys; it is the second cell.
    let at = u32::try_from(32 + cell(&key).len()).unwrap().to_le_bytes();
    key[0x2c..0x30].copy_from_slice(&at);
    let descriptor = [1, 0, 0, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let security = [b"sk\0\0", &at[..], &at, &[1, 0, 0, 0], &[20, 0, 0, 0], &descriptor].concat();
    let mut bin = [b"hbin", &[0; 4][..], &4096_u32.to_le_bytes(), &[0; 20]].concat();
    bin.extend(cell(&key));
    bin.extend(cell(&security));
    let free = i32::try_from(4096 - bin.len()).unwrap();
    bin.extend(free.to_le_bytes());
    bin.resize(4096, 0);
    let mut header = vec![0; 4096];
    header[..4].copy_from_slice(b"regf");
    for (at, word) in [(4, 1_u32), (8, 1), (0x14, 1), (0x18, 5), (0x20, 1), (0x24, 32), (0x28, 4096), (0x2c, 1)] {
        header[at..at + 4].copy_from_slice(&word.to_le_bytes());
    }
    let sum = header[..508].chunks_exact(4).fold(0, |sum, word| sum ^ u32::from_le_bytes(word.try_into().unwrap()));
    header[508..512].copy_from_slice(&sum.to_le_bytes());
    [header, bin].concat()
}

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
        let path = if path.is_empty() { subkey.name().to_owned() } else { format!("{path}\\{}", subkey.name()) };
        let values = subkey.values().unwrap();
        let values = values.iter().map(|value| (value.name().to_owned(), (value.kind(), value.data().unwrap())));
        keys.insert(path.clone(), values.collect());
        collect(&subkey, &path, keys);
    }
}

fn make(folder: &Path) -> (String, BTreeMap<String, Values>) {
    let hive = folder.join("hive");
    fs::write(&hive, empty()).unwrap();
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
    let mut ours: Vec<&str> = services.iter().map(Key::name).collect();
    ours.sort_unstable();
    assert_eq!(ours, theirs);
}
