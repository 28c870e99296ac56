use proptest::prelude::*;

use super::*;

fn disk(role: DiskRole, n: u64) -> ArtifactDisk {
    let disk = DiskRef { role, manifest: digest_of(&n.to_le_bytes()) };
    ArtifactDisk { disk, size: (n + 1) << 20, data_bytes: n << 12 }
}

fn record_of(luns: &[u8], by: &str) -> ArtifactRecord {
    let data = luns.iter().map(|lun| disk(DiskRole::Data(*lun), u64::from(*lun) + 1));
    let disks = std::iter::once(disk(DiskRole::Os, 0)).chain(data).collect();
    let artifact = Artifact { os: OsType::Linux, generation: Generation::V2, disks };
    let uploaded = Timestamp::UNIX_EPOCH;
    let system = Some(System { name: "Debian 13".to_owned(), ..System::default() });
    let upload = JobId::new(uploaded, 1);
    let provenance = Provenance { uploaded, upload, by: by.to_owned(), source: Some("/golden.vhd".to_owned()), system };
    ArtifactRecord { artifact, provenance }
}

fn records() -> impl Strategy<Value = ArtifactRecord> {
    (prop::collection::btree_set(0..=DiskRole::MAX_LUN, 0..6), ".{0,20}")
        .prop_map(|(luns, by)| record_of(&luns.into_iter().collect::<Vec<_>>(), &by))
}

proptest! {
    #[test]
    fn record_round_trips(record in records()) {
        prop_assert_eq!(ArtifactRecord::decode(&record.encode()).unwrap(), record);
    }

    #[test]
    fn flipped_bit_is_always_detected(record in records(), at in any::<prop::sample::Index>(), bit in 0..8) {
        let mut text = record.encode();
        let length = text.len();
        text[at.index(length)] ^= 1_u8 << bit;
        prop_assert!(ArtifactRecord::decode(&text).is_err());
    }

    #[test]
    fn truncation_is_always_detected(record in records(), at in any::<prop::sample::Index>()) {
        let text = record.encode();
        prop_assert!(ArtifactRecord::decode(&text[..at.index(text.len())]).is_err());
    }

    #[test]
    fn decoding_unknown_input_does_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = ArtifactRecord::decode(&bytes);
    }
}

#[test]
fn the_digest_identifies_the_content_and_not_the_upload() {
    let one = record_of(&[0, 4], "alice");
    assert_eq!(one.artifact.digest(), record_of(&[0, 4], "bob").artifact.digest());
    assert_ne!(one.encode(), record_of(&[0, 4], "bob").encode());
    assert_ne!(one.artifact.digest(), record_of(&[0, 5], "alice").artifact.digest());
    let windows = Artifact { os: OsType::Windows, ..one.artifact.clone() };
    assert_ne!(windows.digest(), one.artifact.digest());
    assert_eq!(windows.differences(&one.artifact), ["its operating system (windows, not linux)"]);
    let more = record_of(&[0, 4, 5], "alice").artifact;
    assert_eq!(more.differences(&one.artifact), ["its disks (os, data-0, data-4, data-5, not os, data-0, data-4)"]);
}

#[test]
fn errors_name_the_line_and_the_remedy() {
    let record = record_of(&[3], "alice");
    let good = String::from_utf8(record.encode()).unwrap();
    let lines: Vec<&str> = good.split_inclusive('\n').collect();
    let swapped = [lines[0], lines[2], lines[1], lines[3], lines[4]].concat();
    let broken = [
        good.replace("\"v\":1", "\"v\":2"),
        good.replace("\"v\":1", "\"v\":0"),
        good.replace("goldfleet-artifact", "goldfleet-manifest"),
        good.replace("data-3", "data-64"),
        good.replace("data-3", "data-03"),
        good.replace("\"disks\":2", "\"disks\":3"),
        good.replace("alice", "bob"),
        good.replace("linux", "beos"),
        good.replace("\"by\"", "\"with\""),
        lines[..3].concat(),
        swapped,
    ];
    let (image, version) = ("ubuntu-24.04".parse().unwrap(), "2026.11.1".parse().unwrap());
    let messages: Vec<String> = broken
        .iter()
        .map(|text| {
            assert_ne!(*text, good);
            ArtifactRecord::decode(text.as_bytes()).unwrap_err().with_remedy(&image, &version)
        })
        .collect();
    insta::assert_snapshot!(messages.join("\n"));
}

/// A flipped bit can change the digit of the version. Only a record whose hash is right is one of a later release.
#[test]
fn a_later_version_needs_its_hash() {
    let good = String::from_utf8(record_of(&[3], "alice").encode()).unwrap();
    let changed = good.replace("\"v\":1", "\"v\":5");
    assert_eq!(ArtifactRecord::decode(changed.as_bytes()).unwrap_err().code(), "artifact-damaged");
    let above: String = changed.split_inclusive('\n').take(4).collect();
    let later = format!("{above}{{\"b3\":\"{}\",\"parts\":2}}\n", blake3::hash(above.as_bytes()));
    let error = ArtifactRecord::decode(later.as_bytes()).unwrap_err();
    assert_eq!((&error, error.code()), (&ArtifactError::Newer(5), "artifact-version"));
}

#[test]
fn a_record_is_of_one_version() {
    let (image, version) = ("ubuntu-24.04".parse().unwrap(), "2026.11.1".parse().unwrap());
    assert_eq!(version_of(&artifact_name(&image, &version)), Some((image, version)));
    for other in ["artifacts/ubuntu.jsonl", "artifacts/a/b/c.jsonl", "manifests/a/1.jsonl", "artifacts/a/1.json"] {
        assert_eq!(version_of(other), None, "{other}");
    }
}
