use super::build::{Lists, Node, put, seal};
use super::*;
use crate::MemoryFile;

fn sample() -> Node {
    let mut root = Node::default();
    root.dword("Select", "Current", 2)
        .string("ControlSet002\\Control", "Name", "Zürich ☃")
        .strings("ControlSet002\\Control", "List", &["one", "two"])
        .binary("ControlSet002\\Services\\Ключ", "Größe☃", vec![1, 2, 3, 4, 5])
        .string("ControlSet002\\Services\\disk", "", "default");
    for index in 0..40 {
        root.dword(&format!("Many\\key{index}"), "Index", index);
    }
    root
}

fn open(bytes: &[u8]) -> Result<Hive<'static>, HiveError> {
    Hive::open(Box::new(MemoryFile(bytes.to_vec())))
}

/// Reads everything in a hive: the number of keys and of bytes of values.
fn walk(key: &Key<'_, '_>, depth: usize) -> Result<(usize, usize), HiveError> {
    let mut total = (1, 0);
    for value in key.values()? {
        total.1 += value?.data()?.len();
    }
    for subkey in key.subkeys()? {
        if depth == 0 {
            return Err(HiveError::TooLarge("deep"));
        }
        let below = walk(&subkey?, depth - 1)?;
        total = (total.0 + below.0, total.1 + below.1);
    }
    Ok(total)
}

#[test]
fn keys_and_values_are_found_in_every_kind_of_list() {
    for lists in [Lists::Lf, Lists::Lh, Lists::Li, Lists::Ri] {
        let bytes = build::hive(&sample(), lists);
        let hive = open(&bytes).unwrap();
        assert!(!hive.is_dirty());
        let current = hive.key("select").unwrap().unwrap().value("CURRENT").unwrap().unwrap();
        assert_eq!(current.dword().unwrap(), Some(2));
        assert_eq!(current.string().unwrap(), None, "a number is not a string");
        let control = hive.key("\\ControlSet002\\Control").unwrap().unwrap();
        assert_eq!(control.value("name").unwrap().unwrap().string().unwrap().as_deref(), Some("Zürich ☃"));
        assert_eq!(control.value("List").unwrap().unwrap().strings().unwrap().unwrap(), ["one", "two"]);
        let services = hive.key("ControlSet002\\Services").unwrap().unwrap();
        let names: Vec<String> = services.subkeys().unwrap().map(|key| key.unwrap().name().to_owned()).collect();
        assert_eq!(names, ["Ключ", "disk"]);
        let binary = services.subkey("КЛЮЧ").unwrap().unwrap().value("größe☃").unwrap().unwrap();
        assert_eq!(binary.data().unwrap(), [1, 2, 3, 4, 5]);
        let default = hive.key("ControlSet002\\Services\\disk").unwrap().unwrap().value("").unwrap().unwrap();
        assert_eq!(default.string().unwrap().as_deref(), Some("default"));
        let many = hive.key("Many\\key39").unwrap().unwrap().value("Index").unwrap().unwrap();
        assert_eq!(many.dword().unwrap(), Some(39));
        assert!(hive.key("Many\\key40").unwrap().is_none());
        assert!(control.value("none").unwrap().is_none());
    }
}

#[test]
fn long_data_is_put_together_from_its_segments() {
    for length in [5, 16_344, 16_345, 100_000] {
        let data: Vec<u8> = (0..length).map(|i| u8::try_from(i % 251).unwrap()).collect();
        let mut root = Node::default();
        root.binary("a", "long", data.clone());
        let bytes = build::hive(&root, Lists::Lf);
        let hive = open(&bytes).unwrap();
        let value = hive.key("a").unwrap().unwrap().value("long").unwrap().unwrap();
        assert!(value.data().unwrap() == data, "{length} bytes");
    }
}

#[test]
fn different_sequence_numbers_are_reported() {
    let mut bytes = build::hive(&sample(), Lists::Lf);
    put(&mut bytes, 4, 8);
    seal(&mut bytes);
    assert!(open(&bytes).unwrap().is_dirty());
}

#[test]
fn damaged_headers_and_bins_are_refused() {
    let whole = build::hive(&sample(), Lists::Lf);
    let text = |bytes: &[u8]| open(bytes).unwrap_err().to_string();
    assert!(text(&whole[..100]).contains("the file ends at byte 100"));
    assert!(text(&whole[..whole.len() - 1]).contains("the header states"));
    let mut bytes = whole.clone();
    bytes[0] = b'R';
    assert!(text(&bytes).contains("does not begin with"));
    let mut bytes = whole.clone();
    bytes[100] ^= 1;
    assert!(text(&bytes).contains("checksum"));
    let mut bytes = whole.clone();
    bytes[HEADER] = b'H';
    assert!(text(&bytes).contains("no valid bin at offset 0x0"));
    let mut bytes = whole;
    put(&mut bytes, HEADER + 8, 0);
    assert!(text(&bytes).contains("no valid bin"), "a bin of no length");
}

#[test]
fn a_list_that_contains_itself_ends() {
    // The root's list names the root: endless depth, which a caller's path bounds.
    let mut bytes = build::hive(&sample(), Lists::Li);
    let hive = open(&bytes).unwrap();
    let (root, list) = (hive.root, hive.root().unwrap().subkey_list);
    drop(hive);
    put(&mut bytes, HEADER + usize::try_from(list).unwrap() + 8, root);
    let hive = open(&bytes).unwrap();
    assert!(walk(&hive.root().unwrap(), 600).is_err());
    // A list of lists that names itself.
    let mut bytes = build::hive(&sample(), Lists::Ri);
    let list = open(&bytes).unwrap().root().unwrap().subkey_list;
    put(&mut bytes, HEADER + usize::try_from(list).unwrap() + 8, list);
    assert!(open(&bytes).unwrap().root().unwrap().subkeys().err().unwrap().to_string().contains("nested"));
}

#[test]
fn counts_that_differ_from_the_lists_are_damage() {
    let whole = build::hive(&sample(), Lists::Lf);
    let root = HEADER + usize::try_from(open(&whole).unwrap().root).unwrap() + 4;
    let mut bytes = whole.clone();
    put(&mut bytes, root + 0x14, 1_000_000_000);
    let hive = open(&bytes).unwrap();
    assert!(hive.key("Select").unwrap_err().to_string().contains("a key states 1000000000 subkeys"));
    let mut bytes = whole;
    put(&mut bytes, root + 0x24, 1_000_000_000);
    assert!(open(&bytes).unwrap().root().unwrap().values().err().unwrap().to_string().contains("too large"));
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(crate::damaged::cases()))]
    /// Any bytes may be changed, also where the checksum of the header is then recomputed: reading ends, without a
    /// panic.
    #[test]
    fn a_damaged_hive_is_read_to_an_end(changes in proptest::collection::vec((0_usize..20_000, 0_u8..), 1..20), recompute: bool) {
        let mut bytes = build::hive(&sample(), Lists::Ri);
        for (at, value) in changes {
            let at = at % bytes.len();
            bytes[at] = value;
        }
        if recompute {
            seal(&mut bytes);
        }
        if let Ok(hive) = open(&bytes) && let Ok(root) = hive.root() {
            let _ = walk(&root, 64);
            let _ = hive.key("ControlSet002\\Services\\disk");
        }
    }
}
